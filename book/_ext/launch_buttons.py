"""Launch buttons behind one setting: ``repository: url`` in ``_config.yml``.

While the address is empty there are no buttons, where the theme itself would stop the build. Binder
takes any public Git repository and installs `thesislib` as `.binder/` says; services that open a
notebook alone are left out, since it would stop at its first import.
"""

from __future__ import annotations

from sphinx.application import Sphinx
from sphinx.config import Config


def settle(app: Sphinx, config: Config) -> None:
    """Leave out the buttons that cannot lead anywhere."""
    options = config.html_theme_options
    address = (options.get("repository_url") or "").strip()
    if not address:
        options.pop("repository_url", None)
        options.pop("launch_buttons", None)


def setup(app: Sphinx) -> dict:
    """Look at the settings before the theme does."""
    app.connect("config-inited", settle, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
