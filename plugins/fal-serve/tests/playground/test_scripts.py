"""Forms, responses and conversations on the playground."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

from playwright.sync_api import expect


def test_a_form_becomes_a_request_and_its_answer_is_shown(page, run, answer_of, field):
    """Each kind of field sends its input, and untouched fields their defaults."""
    tab = page()

    assert field(tab, "words").input_value() == "zebra"
    field(tab, "words").fill("a \"cat\"\nand 'more' é")
    field(tab, "amount").fill("7")
    field(tab, "kind").select_option("ink")
    field(tab, "quick").check()
    tab.get_by_role("button", name="Add an item to names").click()
    field(tab, "names 1").fill("one")
    tab.get_by_role("button", name="Add an item to names").click()
    field(tab, "names 2").fill("two")
    tab.get_by_role("button", name="Remove names 1").click()
    field(tab, "place").check()
    field(tab, "top").nth(1).fill("5")
    field(tab, "either").select_option("string")
    field(tab, "either value").fill("text")
    tab.get_by_role("button", name="Add an entry to numbers").click()
    field(tab, "key").fill("pi")
    field(tab, "value").fill("3.5")
    field(tab, "free").fill('{"a": [1, null]}')
    run(tab, "200")

    assert answer_of(tab) == {
        "words": "a \"cat\"\nand 'more' é",
        "amount": 7,
        "share": None,
        "kind": "ink",
        "quick": True,
        "image_url": None,
        "names": ["two"],
        "corner": {"left": 1, "top": 0},
        "corners": [],
        "place": {"left": 0, "top": 5},
        "either": "text",
        "numbers": {"pi": 3.5},
        "free": {"a": [1, None]},
    }


def test_fields_stand_in_the_order_in_which_they_were_written(page):
    """The fields of a form have the order of the model."""
    labels = page().locator(".heading").all_inner_texts()

    assert [text.split("\n")[0] for text in labels if text and "other fields" not in text] == [
        *("words", "amount", "share", "kind", "quick", "image_url", "names"),
        *("corner", "left", "top", "corners", "place", "either", "numbers", "free"),
    ]


def test_form_and_json_show_the_same_input(page, field):
    """Input in the form or the JSON appears in the other."""
    tab = page()
    field(tab, "amount").fill("8")
    tab.get_by_role("tab", name="JSON").click()
    raw = tab.get_by_label("Input as JSON")
    assert json.loads(raw.input_value())["amount"] == 8

    raw.fill(json.dumps({"words": "from JSON", "corners": [{"left": 4}], "unknown": 1}))
    tab.get_by_role("tab", name="Form").click()
    assert field(tab, "words").input_value() == "from JSON"
    assert field(tab, "left").nth(1).input_value() == "4"
    assert json.loads(field(tab, "other fields").last.input_value()) == {"unknown": 1}

    tab.get_by_role("tab", name="JSON").click()
    assert json.loads(raw.input_value())["unknown"] == 1


def test_what_is_no_json_is_not_sent(page):
    """Invalid JSON is reported beside it, and prevents the request."""
    tab = page()
    tab.get_by_role("tab", name="JSON").click()
    tab.get_by_label("Input as JSON").fill('{"words": ')
    tab.get_by_role("button", name="Run", exact=True).click()

    expect(tab.locator(".actions .error")).to_contain_text("not JSON")
    expect(tab.locator(".answer .badge")).to_have_count(0)


def test_errors_stand_beside_the_fields_that_they_name(page, run, field):
    """A 422 is shown at each invalid field, until that field is changed."""
    tab = page()
    field(tab, "words").fill("x")
    tab.get_by_role("button", name="Add an item to corners").click()
    field(tab, "left").nth(1).fill("1.5")
    run(tab, "422")

    words = tab.locator(".field", has=field(tab, "words"))
    expect(words.locator(".error")).to_contain_text("at least 2 characters")
    expect(field(tab, "words")).to_have_attribute("aria-invalid", "true")
    left = tab.locator(".item .field", has=field(tab, "left"))
    expect(left.locator(".error")).to_contain_text("integer")
    tab.get_by_role("button", name="corners.0.left").click()
    expect(field(tab, "left").nth(1)).to_be_focused()

    field(tab, "words").fill("xy")
    expect(words.locator(".error")).to_be_hidden()


def test_a_file_becomes_a_data_url(page, tmp_path, run, answer_of, png, image):
    """A field for an image takes a file, shows it, and sends it as a data URL."""
    (tmp_path / "pixel.png").write_bytes(png)
    tab = page()
    with tab.expect_file_chooser() as chosen:
        tab.get_by_role("button", name="Choose a file for image_url").click()
    chosen.value.set_files(tmp_path / "pixel.png")
    expect(tab.locator(".preview img")).to_be_visible()
    run(tab, "200")

    assert answer_of(tab)["image_url"] == image


def test_parameters_of_path_query_and_header_are_fields(page, run, answer_of, field):
    """Parameters outside the body are fields too, and are sent where they belong."""
    tab = page("POST /find/{place}")
    tab.get_by_role("button", name="Run", exact=True).click()
    expect(tab.locator(".actions .error")).to_contain_text("place")

    field(tab, "place").fill("a/b c?")
    field(tab, "many").fill("4")
    field(tab, "x-token").fill("secret")
    field(tab, "place").fill("a b?&")
    run(tab, "200")
    assert answer_of(tab) == ["a b?&", 4, "secret"]


def test_a_stream_is_seen_before_its_end(page, shop, run):
    """Text of an incomplete response is shown, and the rest follows."""
    tab = page("POST /stream")
    run(tab, "event")
    expect(tab.locator(".streamed")).to_have_text("hello, ")
    expect(tab.get_by_role("button", name="Cancel")).to_be_enabled()

    shop.post("/go")
    expect(tab.locator(".answer .badge")).to_have_text("200 OK")
    expect(tab.locator(".streamed")).to_have_text("hello, and good bye")
    expect(tab.locator("#announcements")).to_contain_text("hello, and good bye")


def test_cancel_ends_the_request_at_the_service(page, shop, run):
    """Cancel keeps the partial response, and the handler notices the disconnect."""
    tab = page("POST /stream")
    run(tab, "event")
    tab.get_by_role("button", name="Cancel").click()

    expect(tab.locator(".answer .badge")).to_have_text("Cancelled")
    expect(tab.locator(".streamed")).to_have_text("hello, ")
    expect(tab.get_by_role("button", name="Run", exact=True)).to_be_enabled()
    shop.find_line("the stream has ended")


def test_events_that_are_no_text_are_rows(page, run, field):
    """Each event is a row, and the newest image among them is shown."""
    tab = page("POST /steps")
    field(tab, "count").fill("4")
    run(tab, "200")

    expect(tab.locator(".rows > li")).to_have_count(4)
    expect(tab.locator(".gallery img")).to_have_count(1)


def test_a_stream_that_breaks_is_told_from_one_that_ends(page, shop, run):
    """A broken stream keeps its rows, with a note that it is incomplete."""
    tab = page("POST /breaks")
    run(tab, "event")
    expect(tab.locator(".streamed")).to_have_text("begun")
    shop.post("/go")

    expect(tab.locator(".answer .badge")).to_have_text("Broken off")
    expect(tab.locator(".streamed")).to_have_text("begun")
    expect(tab.locator(".failure").last).to_contain_text("broken the answer off")


def test_images_of_an_answer_are_shown(page, run, is_loaded, image):
    """A data URL is shown, as is an object with a URL and the type of an image."""
    tab = page("POST /images")
    run(tab, "200")

    expect(tab.locator(".gallery img")).to_have_count(2)
    assert is_loaded(tab.locator(f'.gallery img[src="{image}"]'))
    expect(tab.locator('.gallery img[src="/raw.bin"]')).to_have_count(1)


def test_an_answer_that_is_an_image_is_shown(page, run, is_loaded):
    """A response with the bytes of an image is shown as an image."""
    tab = page("POST /raw")
    run(tab, "200")

    assert is_loaded(tab.locator(".gallery img"))


def test_bytes_are_a_download(page, run):
    """A response that cannot be shown can be downloaded unchanged."""
    tab = page("POST /bytes")
    run(tab, "200")
    with tab.expect_download() as saved:
        tab.get_by_role("button", name="Download").click()

    assert saved.value.path().read_bytes() == bytes(range(256))


def test_request_id_and_headers_are_shown(page, run):
    """The request id can be copied, and the headers can be unfolded."""
    tab = page("POST /images")
    run(tab, "200")
    tab.locator("summary", has_text="headers").click()
    shown = tab.locator(".headers dl").inner_text()

    assert tab.locator(".request-id code").inner_text() in shown
    assert "content-type" in shown


def test_realtime_speaks_msgpack(page, field, is_loaded):
    """A message is entered in the form, sent as msgpack, and the decoded output is shown."""
    tab = page("WS /live")
    field(tab, "words").fill("loud")
    tab.get_by_role("button", name="Send").click()

    answer = tab.locator("li.received")
    expect(answer).to_contain_text('"LOUD"')
    expect(answer).to_contain_text(str(2**60))
    assert is_loaded(tab.locator(".gallery img"))
    tab.get_by_role("button", name="Disconnect").click()
    expect(tab.locator(".answer .badge")).to_have_text("Disconnected")


def test_a_message_that_is_refused_says_why(page, field):
    """The reason of a refusal is shown among the messages."""
    tab = page("WS /live")
    field(tab, "words").fill("x")
    tab.get_by_role("button", name="Send").click()

    expect(tab.locator("li.refused")).to_contain_text("VALIDATION_ERROR")
    expect(tab.locator(".answer .badge")).to_contain_text("Closed with 1008")


def test_a_plain_websocket_is_spoken_to_in_text(page, field):
    """A websocket endpoint is sent the text that was typed, JSON or not."""
    tab = page("WS /chat")
    field(tab, "input").fill('"hi"')
    tab.get_by_role("button", name="Send").click()
    expect(tab.locator("li.received")).to_contain_text("you said")
    tab.get_by_label("as", exact=True).select_option("text")
    tab.get_by_role("button", name="Send").click()

    expect(tab.locator("li.received").nth(1)).to_contain_text('"you said hi"')


def test_a_copied_call_does_the_same_elsewhere(page, tmp_path, run, field, copied):
    """The copied program runs as it is, whatever the input."""
    words = 'it\'s "two"\n\\lines é 😀 $HOME `x`'
    tab = page()
    field(tab, "words").fill(words)
    field(tab, "quick").check()
    program = copied(tab, "Python")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            program.replace("print(response.json())", "print(response.text)"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["words"] == words
    assert json.loads(done.stdout)["quick"] is True

    command = copied(tab, "curl")
    if shutil.which("curl") is not None:
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["words"] == words


def test_a_copied_conversation_does_the_same_elsewhere(page, run, field, copied):
    """The copied program of a realtime endpoint sends the input."""
    tab = page("WS /live")
    field(tab, "words").fill("quiet")
    program = copied(tab, "Python") + "        break\n"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert "QUIET" in done.stdout
