"""How templates are compiled: the same language and the same text, at half the price.

A page of payments calls several hundred macros and writes more than a thousand values. Jinja's own code asks of each call whether the
callee wants the context, and makes each value a Markup before the pieces are joined. Nothing here wants the context, and the joined text
is made safe once, so both are left out. What is escaped, and how, stays as it is.
"""

from collections.abc import MutableMapping
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from markupsafe import Markup, _escape_inner, escape  # type: ignore[attr-defined]


def shown(value: object) -> str:
    """A value as it stands in a page: markup as it is, a text escaped, anything else as Jinja shows it."""
    kind = value.__class__
    if kind is Markup:
        return value  # type: ignore[return-value]
    return _escape_inner(value) if kind is str else escape(value)  # type: ignore[arg-type]


class _Generator(CodeGenerator):
    """Writes the Python code of a template."""

    def visit_Template(self, node: nodes.Template, frame: Frame | None = None) -> None:  # noqa: N802 - Jinja's name
        self.writeline(f"from {__name__} import shown")
        super().visit_Template(node, frame)

    def visit_Output(self, node: nodes.Output, frame: Frame) -> None:  # noqa: N802 - Jinja's name
        for child in node.nodes:
            if isinstance(child, nodes.CondExpr) and child.expr2 is None:
                # nothing at all, without an undefined value made and shown for it
                child.expr2 = nodes.Const("")
        super().visit_Output(node, frame)

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo) -> None:
        self.write("shown(")

    def visit_Call(self, node: nodes.Call, frame: Frame, forward_caller: bool = False) -> None:  # noqa: N802 - Jinja's name
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            super().visit_Call(node, frame, forward_caller=forward_caller)
            return
        self.visit(node.node, frame)
        self.write("(")
        for argument in (*node.args, *node.kwargs):
            self.visit(argument, frame)
            self.write(", ")
        self.write("caller=caller)" if forward_caller else ")")


class Environment(jinja2.Environment):
    """Templates of pages. Everything is escaped, a name that is not defined is an error, and no function of ours takes the context."""

    code_generator_class = _Generator

    def __init__(self, loader: jinja2.BaseLoader, *, reloads: bool) -> None:
        super().__init__(
            loader=loader,
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            cache_size=-1,
            auto_reload=reloads,
        )

    def make_globals(self, d: MutableMapping[str, Any] | None) -> MutableMapping[str, Any]:
        """One plain dictionary: at each import of a page Jinja compares its keys with those of the page."""
        return {**self.globals, **(d or {})}
