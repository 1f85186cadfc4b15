"""The language and the links of the documents. `make lint` checks their spelling with codespell."""

import re

import pytest

from tests.support.servers import ROOT

DOCUMENTS = [
    path
    for path in sorted(ROOT.rglob("*.md"))
    if not {"node_modules", ".venv"} & set(path.relative_to(ROOT).parts)
]
# Words that are not plain, and what to write instead.
STYLE = {
    r"whoever|those who|anyone who": "the user, the client",
    r"hangs? up|hung up": "closes",
    r"in one go|anew|of late|at hand": "in a batch, again, recently, current",
    r"has been told|was told|is told|tells the": "sends, is documented",
    r"simply|just|easily|obviously": "nothing",
    r"utili[sz]e": "use",
    r"in order to": "to",
}
MAX_WORDS = 45  # in a sentence
BLOCK = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)

every_document = pytest.mark.parametrize(
    "path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


def prose(path):
    """Return the text of a document without code."""
    return re.sub("`[^`]*`", "code", BLOCK.sub("code", path.read_text()))


def anchors(path):
    """Return the anchors of the headings of a document, as web hosts of repositories make them."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_document
def test_it_is_in_plain_language(path):
    text = prose(path)

    found = [
        f"{match.group()}: write {better}"
        for words, better in STYLE.items()
        for match in re.finditer(rf"\b(?:{words})\b", text, re.IGNORECASE)
    ]

    assert found == []


@every_document
def test_its_sentences_are_short(path):
    # A row of a table, an item of a list and a heading end a sentence too.
    sentences = re.split(r"[.:;!?]\s|\n\n|\n[-*#|]|\n\d+\.|\|", prose(path))

    assert [text for text in sentences if len(text.split()) > MAX_WORDS] == []


@every_document
def test_its_links_within_the_documents_resolve(path):
    broken = []
    for target in re.findall(r"\]\(([^):]+)\)", path.read_text()):
        file, _, anchor = target.partition("#")
        linked = path.parent / file if file else path
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            broken.append(target)

    assert broken == []
