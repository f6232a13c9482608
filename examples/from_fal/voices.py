"""Voices: sounds, videos and other files in answers, and an archive of files in a request."""

from __future__ import annotations

import io
import tempfile
import wave
from pathlib import Path

from pydantic import BaseModel

import fal_compat as fal


class Speech(BaseModel):
    audio: fal.toolkit.Audio
    transcript: fal.toolkit.File


class Samples(BaseModel):
    archive: fal.toolkit.CompressedFile
    sample: fal.toolkit.File | None = None


class Voices(fal.App):
    machine_type = "XS"

    @fal.endpoint("/speak")
    async def speak(self, text: str, seconds: float = 0.1) -> Speech:
        with io.BytesIO() as file:
            with wave.open(file, "wb") as sound:
                sound.setnchannels(1)
                sound.setsampwidth(2)
                sound.setframerate(8000)
                sound.writeframes(bytes(2 * int(8000 * seconds)))
            audio = await fal.toolkit.Audio.from_bytes_async(
                file.getvalue(), "audio/wav", "speech.wav"
            )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "transcript.txt"
            path.write_text(text)
            transcript = fal.toolkit.File.from_path(path, content_type="text/plain")
        return Speech(audio=audio, transcript=transcript)

    @fal.endpoint("/train")
    def train(self, samples: Samples) -> dict[str, int]:
        found = {path.name: path.stat().st_size for path in samples.archive.glob("*.txt")}
        if samples.sample is not None:
            with tempfile.TemporaryDirectory() as folder:
                path = samples.sample.save(Path(folder) / "sample")
                found["sample"] = path.stat().st_size
        return found
