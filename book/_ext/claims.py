"""Directives for the claims of the paper, with verdicts that are judged from the ledger when the site is built.

* `claims-summary`: how many have which verdict, and a mark for each that leads to it;
* `claims` with a heading of `chapters.GROUPS`: the claims of one group;
* `verdicts` with a verdict: the claims that have it, and what would change that.

Each is judged on the largest setting that has rows for it, which is named with the verdict.
"""

import html
import os
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

import pandas as pd
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from chapters import GROUPS, chapters, group
from prunekit.errors import PrunekitError
from prunekit.paper.claims import CLAIMS, decided, full_size
from prunekit.paper.cost_claims import ARITHMETIC
from prunekit.paper.estimates import spoken as time_spoken
from prunekit.paper.judging import FAILS, HOLDS, IN_PART, NOT_TESTED, UNDECIDED, VERDICTS, Verdict, spoken, summary
from prunekit.paper.settings import SETTINGS
from prunekit.paper.spent import spent
from results import LOGGER

PAGE = "book/claims"
RING = '<circle cx="8" cy="8" r="6.25" fill="none" stroke="currentColor" stroke-width="1.5"/>'
LINE = 'fill="none" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" stroke'
MARKS = {  # told apart by their shapes, so also in grey print
    HOLDS: '<circle cx="8" cy="8" r="7" fill="currentColor"/>'
    f'<path d="M4.5 8.3l2.5 2.5 4.5-5" {LINE}="var(--pst-color-background)"/>',
    IN_PART: f'{RING}<path d="M8 1.75a6.25 6.25 0 0 0 0 12.5z" fill="currentColor"/>',
    FAILS: f'<path d="M3 3l10 10M13 3L3 13" {LINE}="currentColor"/>',
    UNDECIDED: f'{RING}<path d="M4.5 8.7q1.75-2.2 3.5-.7t3.5-.7" {LINE}="currentColor"/>',
    NOT_TESTED: '<circle cx="8" cy="8" r="6.25" fill="none" stroke="currentColor" stroke-dasharray="2.4 2.5"/>',
}
Found = dict[str, Verdict]  # by the id of the claim


@cache
def judged(root: str | None) -> Found:
    """The verdicts on all claims, from the results in a folder."""
    ledgers = full_size(root)
    return {id: decided(claim, ledgers) for id, claim in CLAIMS.items()}


@cache
def costs(root: str | None) -> dict[str, pd.DataFrame]:
    """What experiments took, by setting."""
    return {ledger.setting: spent(ledger) for ledger in full_size(root)}


@dataclass(frozen=True)
class Site:
    """Addresses and titles as one page sees them."""

    app: Sphinx
    page: str

    def claim(self, id: str) -> str:
        """The address of a claim."""
        here = "" if self.page == PAGE else self.app.builder.get_relative_uri(self.page, PAGE)
        return f"{here}#claim-{id}"

    def chapters(self, id: str) -> list[str]:
        """Links to the chapters that show a claim, as far as they are in the book."""
        links = []
        for name in chapters(id):
            if name in self.app.env.found_docs:
                number = "".join(f"{n}. " for n in self.app.env.toc_secnumbers.get(name, {}).get("", ()))
                title = html.escape(number + self.app.env.titles[name].astext())
                links.append(f'<a href="{self.app.builder.get_relative_uri(self.page, name)}">{title}</a>')
        return links


def mark(verdict: str) -> str:
    """The mark of a verdict, for the eye alone: the word stands beside it."""
    return f'<svg class="verdict-mark {kind(verdict)}" viewBox="0 0 16 16" aria-hidden="true">{MARKS[verdict]}</svg>'


def kind(verdict: str) -> str:
    """The class of a verdict in the style sheet."""
    return verdict.replace(" ", "-")


def overview(found: Found, site: Site) -> str:
    """How many claims have which verdict, then a mark for each, by group."""
    verdicts = [verdict.verdict for verdict in found.values()]
    tiles = []
    for verdict in VERDICTS:
        number, words = spoken(verdicts.count(verdict), verdict).split(" ", 1)
        tiles.append(f"<li>{mark(verdict)}<span><strong>{number}</strong> {words}</span></li>")
    settings = Counter(verdict.setting for verdict in found.values() if verdict.verdict != NOT_TESTED)
    where = [f"{settings[ARITHMETIC]} by arithmetic alone"]
    where += [f"{settings[name]} on <code>{name}</code>" for name in reversed(SETTINGS) if settings[name]]
    marks = dict.fromkeys(GROUPS, "")
    for id, verdict in found.items():
        title = html.escape(f"{id} {verdict.verdict}")
        link = f'{mark(verdict.verdict)}<span class="visually-hidden">{title}</span>'
        marks[group(id)] += f'<a href="{site.claim(id)}" title="{title}">{link}</a>'
    rows = "".join(f'<tr><th scope="row">{name}</th><td>{links}</td></tr>' for name, links in marks.items())
    return (
        f"<p>{summary(verdicts)} They were judged: {', '.join(where)}.</p>"
        f'<ul class="verdicts">{"".join(tiles)}</ul><table class="overview"><tbody>{rows}</tbody></table>'
    )


def table(found: Found, took: dict[str, pd.DataFrame], site: Site) -> str:
    """Claims as an HTML table; what decides each folds out below it.

    On the page of claims, what would change the verdict is folded in, too; elsewhere a claim's name leads there.
    """
    rows = []
    for id, verdict in found.items():
        claim, name, links = CLAIMS[id], html.escape(id), site.chapters(id)
        changes = f"<p>What would change the verdict: {html.escape(claim.changes)}</p>"
        folded = [f"<p>{html.escape(claim.predicate)}</p>"]
        meaning, place = html.escape(claim.meaning), html.escape(claim.place)
        shown = [f'<p class="measured">{numbers(verdict)}.</p>']
        if site.page == PAGE:
            folded.append(changes)
        else:
            shown.append(changes)
            name = f'<a href="{site.claim(id)}">{name}</a>'
        if cost := cost_of(verdict, claim.experiments, took):
            folded.append(f"<p>{cost}</p>")
        if links:
            shown.append(f'<p class="shown">Shown in: {", ".join(links)}</p>')
        rows.append(
            f'<tr id="claim-{html.escape(id)}">'
            f'<td class="verdict">{mark(verdict.verdict)}<strong>{verdict.verdict}</strong>{where(verdict)}</td>'
            f'<td><p><span class="name">{name}</span> {meaning} <em>{place}.</em></p>'
            f"{''.join(shown)}<details><summary>what decides</summary>{''.join(folded)}</details></td></tr>"
        )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("verdict", "claim and numbers"))
    return f'<table class="ledger claims"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def numbers(verdict: Verdict) -> str:
    """The numbers behind a verdict, a line for each seed."""
    lines = re.split(r"; (?=seed \d)", verdict.numbers)
    return ".<br>".join(html.escape(line[0].upper() + line[1:]) for line in lines)


def where(verdict: Verdict) -> str:
    """The setting behind a verdict, and how many networks were trained there."""
    if verdict.verdict == NOT_TESTED:
        return ""
    seeds = f", {len(verdict.seeds)} seed{'s' if len(verdict.seeds) > 1 else ''}" if verdict.seeds else ""
    return f'<span class="where">{html.escape(verdict.setting)}{seeds}</span>'


def cost_of(verdict: Verdict, experiments: tuple[str, ...], took: dict[str, pd.DataFrame]) -> str:
    """What the experiments behind a verdict took, where they were run."""
    if verdict.verdict == NOT_TESTED or verdict.setting not in took:
        return ""
    table = took[verdict.setting]
    each = []
    for row in table[table["experiment"].isin(experiments)].to_dict("records"):
        left_out = ", its training left out" if row["untimed"] else ""
        each.append(f"{row['experiment']} {time_spoken(max(1, row['seconds']))} on {row['device']}{left_out}")
    return html.escape(f"What it took, as measured: {'; '.join(each)}.") if each else ""


class Pending(nodes.General, nodes.Element):
    """Where HTML goes once all pages have been read: only then their titles are known."""


class Summary(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        return [Pending(what=self.name)]


class Some(SphinxDirective):
    """The claims that have something in common, which the argument names."""

    required_arguments, final_argument_whitespace = 1, True
    known: Collection[str]

    def run(self) -> list[nodes.Node]:
        if (chosen := self.arguments[0]) not in self.known:
            raise self.error(f"{self.name}: {chosen!r} is none of {', '.join(self.known)}")
        return [Pending(what=self.name, chosen=chosen)]


class OfGroup(Some):
    known = GROUPS


class OfVerdict(Some):
    known = VERDICTS


def fill(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Put HTML in place of what is pending."""
    root, site = os.environ.get("PRUNEKIT_RESULTS"), Site(app, page)
    for node in list(doctree.findall(Pending)):
        try:
            node.replace_self(nodes.raw("", text_of(node["what"], node.get("chosen"), root, site), format="html"))
        except PrunekitError as error:
            LOGGER.warning("ledger: %s", error, location=page, type="ledger")
            node.replace_self(nodes.comment())


def text_of(what: str, chosen: str | None, root: str | None, site: Site) -> str:
    """The HTML of a directive."""
    found = judged(root)
    if what == "claims-summary":
        return overview(found, site)
    if what == "claims":
        return table({id: verdict for id, verdict in found.items() if group(id) == chosen}, costs(root), site)
    some = {id: verdict for id, verdict in found.items() if verdict.verdict == chosen}
    return table(some, costs(root), site) if some else "<p>At present, no claim has this verdict.</p>"


def setup(app: Sphinx) -> dict:
    app.add_directive("claims-summary", Summary)
    app.add_directive("claims", OfGroup)
    app.add_directive("verdicts", OfVerdict)
    app.connect("doctree-resolved", fill)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
