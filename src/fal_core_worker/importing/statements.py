"""
The import statements of a block, read from the code that is about to run it.

Code is always there, and is what runs; the source of a notebook or of a command line may not
be, or may have been edited since.
"""

from __future__ import annotations

import dis

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

    from fal_core_worker.importing.finding import Parts

_CONSTANTS = ("LOAD_CONST", "LOAD_SMALL_INT", "LOAD_COMMON_CONSTANT")
_NOTHING = ("CACHE", "EXTENDED_ARG", "NOP")
_STORES = ("STORE_NAME", "STORE_GLOBAL")


class Binding:
    """
    One name that an import statement binds.

    Attributes:
        offset: Where in the code its module is imported.

        parts: What it stands for.
    """

    __slots__ = ("name", "offset", "parts")

    def __init__(self, name: str, offset: int, parts: Parts) -> None:
        self.name = name
        self.offset = offset
        self.parts = parts


class Refused(Exception):
    """
    Something in the block is no import, or one of everything that a module has.

    Attributes:
        line: Where it stands.
    """

    def __init__(self, sentence: str, line: int | None) -> None:
        super().__init__(sentence)
        self.line = line


def read_block(code: CodeType, entered: int, package: str) -> list[Binding]:
    """
    Return what the imports of a ``with`` statement bind, in their order.

    Arguments:
        entered: The offset of the instruction of *code* that enters the statement.

        package: The package that relative imports start from.

    Raises:
        Refused: It holds something else.

        ImportError: A relative import has no package to start from.
    """
    found: list[Binding] = []
    constants: list[Any] = []
    statement: _Statement | None = None
    last, end = "", entered
    line: int | None = None
    inner: int | None = None
    for instruction in dis.get_instructions(code):
        # Before Python 3.13, only the first instruction of a line says which it is.
        start: Any = instruction.starts_line
        line = getattr(instruction, "line_number", None) or start or line
        kind = instruction.opname
        if instruction.offset <= entered or kind in _NOTHING:
            continue
        if not last:
            if kind != "POP_TOP":
                raise Refused("`with imports():` stands alone, without `as`.", line)
        elif kind in _CONSTANTS:
            constants.append(_constant(instruction))
            if statement is None and constants == [None, None, None]:
                break
        elif kind == "POP_BLOCK":
            break
        elif kind == "IMPORT_NAME" and len(constants) == 2:
            level, members = constants
            name = _absolute(instruction.argval, level, package)
            statement = _Statement(name, members, instruction.offset)
            constants = []
        elif kind == "IMPORT_STAR" or (kind == "CALL_INTRINSIC_1" and instruction.arg == 2):
            raise Refused(
                "`from … import *` names nothing that could be imported later. Name what is "
                "used.",
                line,
            )
        elif statement is None:
            raise Refused("Only imports may stand under `with imports():`.", line)
        elif kind == "IMPORT_FROM":
            statement.member = instruction.argval
        elif kind in _STORES:
            found.append(statement.bind(instruction.argval))
            if statement.member is None:
                statement = None
        elif kind == "POP_TOP":
            if last not in ("SWAP", "ROT_TWO"):
                statement = None
        elif kind not in ("SWAP", "ROT_TWO"):
            raise Refused("Only imports may stand under `with imports():`.", line)
        last = kind
        if kind not in _CONSTANTS:
            # The constants may be those with which the block is left.
            end, inner = instruction.offset, line
    # A statement inside has handlers of its own, which may take what ends the block.
    entries = getattr(dis.Bytecode(code), "exception_entries", ())
    if len({each.target for each in entries if entered < each.start <= end}) > 1:
        raise Refused("Only imports may stand under `with imports():`.", inner)
    return found


class _Statement:
    def __init__(self, module: str, members: Any, offset: int) -> None:
        self.module = module
        self.members = members
        self.offset = offset
        self.member: str | None = None

    def bind(self, name: str) -> Binding:
        if self.members:
            return Binding(name, self.offset, (self.module, (), self.member))
        if self.member is not None:
            # import a.b.c as d
            return Binding(name, self.offset, (self.module, (), None))
        top = self.module.partition(".")[0]
        below = (self.module,) if self.module != top else ()
        return Binding(name, self.offset, (top, below, None))


def _constant(instruction: dis.Instruction) -> Any:
    # Python 3.15 has None among its common constants, which are told by their place.
    common = instruction.opname == "LOAD_COMMON_CONSTANT" and instruction.argrepr == "None"
    return None if common else instruction.argval


def _absolute(name: str, level: int, package: str) -> str:
    if not level:
        return name
    if not package:
        raise ImportError("attempted relative import with no known parent package")
    from importlib.util import resolve_name

    return resolve_name("." * level + name, package)
