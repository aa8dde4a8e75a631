"""The pages of the gateways say what the code does."""

from __future__ import annotations

from rushes.deploy import gateway_pages
from rushes.shared.providers import PROVIDERS


def test_the_checked_in_pages_are_up_to_date() -> None:
    checked_in = {file.name: file.read_text("utf-8") for file in gateway_pages.FOLDER.glob("*.md")}

    assert checked_in == gateway_pages.pages(), "run: python -m rushes.deploy.gateway_pages"


def test_a_page_tells_unknown_prices_and_guesses() -> None:
    pages = gateway_pages.pages()

    assert set(pages) == {f"{name}.md" for name in PROVIDERS}
    assert "| `kling-v3` | pro, with sound | **unknown** |" in pages["apimart.md"]
    assert "the version of the model" in pages["apimodels.md"]
    assert "in doubt" in pages["apimodels.md"]
    assert "Nothing: every name and every price is from its own documents." in pages["evolink.md"]
