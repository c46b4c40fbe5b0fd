"""Combos whose values the server checks at submission, each under its own input.

The server repeats the answer of `validate_inputs` under every input that it names. So that names one input, or inputs
that must agree; ranges (`min`, `max`) and words are left to the server's own checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from comfy_api.v0_0_2 import io

from ...con360.errors import InputError

# Newer cores check the words of a combo. 0.3.64 checks those alone whose type is their list, as in the older API; it
# also gives the list as the type of a combo's outputs.
SERVER_CHECKS = isinstance(io.Combo.Output(options=["word"]).io_type, str)


class Words(list[str]):
    """Words of a combo with a check of their own: the server asks for membership, and prints the list if it fails.

    Made anew for each validation, since the server reads a node's definition each time. To show a node, the server
    copies it from its items alone: then it is a list.
    """

    def __init__(self, words: Iterable[str], check: Callable[[str], object] | None = None) -> None:
        super().__init__(words)
        self._check, self._why = check, ""

    def __contains__(self, value: object) -> bool:
        if self._check is None:
            return super().__contains__(value)
        try:
            self._check(str(value))
        except InputError as error:
            self._why = str(error)
            return False
        return True

    def __str__(self) -> str:
        return f"{super().__str__()}: {self._why}" if self._why else super().__str__()


def checked(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """Have the server check all combos of a node, on cores that do so for lists alone."""
    if SERVER_CHECKS:
        return node
    define = node.define_schema

    def define_schema(cls: type[io.ComfyNode]) -> io.Schema:
        schema = define()
        for item in schema.inputs:
            if isinstance(item, io.Combo.Input):
                if not isinstance(item.options, list):
                    item.options = list(item.options)
                item.get_io_type = partial(getattr, item, "options")
        return schema

    node.define_schema = classmethod(define_schema)
    return node
