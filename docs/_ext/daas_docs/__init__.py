"""Directives that write the reference from the code, so that the two cannot drift apart.

``daas-traits``, ``daas-settings``, ``daas-errors``, ``daas-scopes`` and ``daas-openapi`` each turn what they
find into reStructuredText, which Sphinx then reads as if it stood in the page.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from daas_docs import errors, metrics, openapi, scopes, settings, traits


class Generated(SphinxDirective):
    """Insert the text that a function makes of the directive's arguments."""

    render: ClassVar[Callable[..., str]]

    def run(self) -> list[Any]:
        """Write the text anew at each build: it depends on code, not on the page."""
        self.env.note_reread()
        return self.parse_text_to_nodes(type(self).render(*self.arguments), allow_section_headings=True)


def _directive(render: Callable[..., str], arguments: int = 0) -> type[Generated]:
    fields = {"render": staticmethod(render), "required_arguments": arguments, "has_content": False}
    return type(render.__name__, (Generated,), fields)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("daas-traits", _directive(traits.render_traits, 1))
    app.add_directive("daas-settings", _directive(settings.render_model, 1))
    app.add_directive("daas-errors", _directive(errors.render_errors))
    app.add_directive("daas-advice", _directive(errors.render_advice))
    app.add_directive("daas-scopes", _directive(scopes.render_scopes))
    app.add_directive("daas-roles", _directive(scopes.render_roles))
    app.add_directive("daas-metrics", _directive(metrics.render_metrics))
    app.add_directive("daas-openapi", _directive(openapi.render_service, 1))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
