"""Tables 1 and 2 computed: our exact counts beside the printed digits."""

from functools import lru_cache

import pandas as pd

from .. import nets
from ..costs import cost, cost_of
from ..plans import plan
from ..tracing import trace
from .configurations import CONFIGURATIONS, image
from .tables import OFF_BY_ONE, TABLE1, TABLE2, TABLE2_TOTAL, Cell, Row1


@lru_cache
def table_of(name: str) -> pd.DataFrame:
    """`cost` of a network of the paper for one image, with a column `projection` for the 1x1 shortcut convs.

    Nothing is cut or computed for it: the plan tells the cost, and a network on the "meta" device has shapes only.
    """
    pruned = name in CONFIGURATIONS
    network = CONFIGURATIONS[name].network if pruned else name
    model, x = nets.build(network), image(network).to("meta")
    if pruned:
        graph = trace(model, x)
        chosen = plan(graph, CONFIGURATIONS[name].rates(model))
        model.to("meta")
        table = cost_of(graph, chosen)
    else:
        table = cost(model.to("meta"), x)
    return table.assign(projection=table["layer"].str.contains("downsample"))


def counts(name: str, projections: bool = False) -> tuple[int, int]:
    """FLOP and weights of a network of the paper, with or without its projection shortcuts.

    Only ResNet-34 has any. Table 1 is reproduced without them, although the text says that the network has them.
    """
    table = table_of(name)
    table = table if projections else table[~table["projection"]]
    return int(table["macs"].sum()), int(table["weights"].sum())


def table1() -> pd.DataFrame:
    """A row per printed cost of Table 1: model, name, quantity, printed, ours (to as many digits), steps (0 if they
    agree, else by how many last digits ours is larger), marked, exact (a count, or a share for pruned)."""
    rows = []
    for row in TABLE1:
        for quantity in ("flop", "flop_pruned", "params", "params_pruned"):
            cell: Cell | None = getattr(row, quantity)
            if cell is not None:
                exact = _exact(row, quantity)
                rows.append(
                    {
                        "model": row.title,
                        "name": row.name,
                        "quantity": quantity.replace("_", " "),
                        "printed": cell.text,
                        "ours": cell.like(exact),
                        "steps": cell.steps(exact),
                        "marked": bool(cell.mark),
                        "exact": exact,
                    }
                )
    exact = pd.Series([row["exact"] for row in rows], dtype=object)  # counts stay whole numbers beside the shares
    return pd.DataFrame(rows).assign(exact=exact)


def table2() -> pd.DataFrame:
    """A row per layer of VGG-16 and one for the total: what is printed and what we count, for VGG-16 and VGG-16-A.

    Columns: layer; printed_ and ours_ of flop, params, saved, as text; exact_flop, exact_params, exact_saved;
    printed_size, ours_size, printed_maps, ours_maps, printed_kept, ours_kept; and `agrees`, whether every cell does.
    """
    full, cut = table_of("vgg16"), table_of("vgg16-a")
    rows = []
    for printed, (_, a), (_, b) in zip(TABLE2, full.iterrows(), cut.iterrows(), strict=True):
        row = {"layer": printed.layer}
        row |= _beside("flop", printed.flop, int(a["macs"])) | _beside("params", printed.params, int(a["weights"]))
        row |= _beside("saved", printed.saved, 1 - int(b["macs"]) / int(a["macs"]))
        for quantity, was, ours in (
            ("size", printed.size, (int(a["height"]), int(a["width"]))),
            ("maps", printed.maps, int(a["filters"])),
            ("kept", printed.kept, int(b["filters"])),
        ):
            row |= {f"printed_{quantity}": was, f"ours_{quantity}": ours[0] if isinstance(ours, tuple) else ours}
            if isinstance(ours, tuple) and ours[0] != ours[1]:
                raise AssertionError(f"{printed.layer}: a map of {ours}, where the table knows square ones only")
        rows.append(row)
    macs = int(full["macs"].sum())
    total = {"layer": "total"} | _beside("flop", TABLE2_TOTAL["flop"], macs)
    total |= _beside("params", TABLE2_TOTAL["params"], int(full["weights"].sum()))
    total |= _beside("saved", TABLE2_TOTAL["saved"], 1 - int(cut["macs"].sum()) / macs)
    table = pd.DataFrame([*rows, total])
    pairs = [(c, c.replace("printed_", "ours_")) for c in table.columns if c.startswith("printed_")]
    agrees = pd.concat([(table[a] == table[b]) | table[a].isna() for a, b in pairs], axis=1).all(axis=1)
    sizes = [c for pair in pairs for c in pair if c.endswith(("_size", "_maps", "_kept"))]
    return table.astype(dict.fromkeys(sizes, "Int64")).assign(agrees=agrees)


def exact_counts() -> pd.DataFrame:
    """A row per network of Table 1: model, name, flop, params; for ResNet-34 also a row with projections."""
    rows = []
    for row in TABLE1:
        if not row.scratch:
            has = bool(table_of(row.name)["projection"].any())
            for projections in (False, True) if has else (False,):
                flop, params = counts(row.name, projections)
                which = ("with" if projections else "without") if has else "none"
                rows.append(
                    {"model": row.title, "name": row.name, "projections": which, "flop": flop, "params": params}
                )
    return pd.DataFrame(rows)


def exact() -> pd.DataFrame:
    """`exact_counts`, with `layer` "all", and below it the layers of Table 2: VGG-16's and VGG-16-A's."""
    parts = [exact_counts().assign(layer="all")]
    for name, title in (("vgg16", "VGG-16"), ("vgg16-a", "VGG-16-A")):
        table = table_of(name).rename(columns={"macs": "flop", "weights": "params"})[["flop", "params"]]
        layers = [row.layer for row in TABLE2]
        parts.append(table.assign(model=title, name=name, projections="none", layer=layers))
    return pd.concat(parts)[["model", "name", "layer", "projections", "flop", "params"]]


def report() -> str:
    """Tables 1 and 2 as text, printed beside ours, with the exact counts."""
    quantities = {"flop": "FLOP", "flop pruned": "pruned", "params": "params", "params pruned": "pruned"}
    first: dict[str, dict[tuple[str, str], str]] = {}
    for row in table1().to_dict("records"):
        cells = first.setdefault(row["model"], {("model", ""): row["model"]})
        cells[row["quantity"], "printed"] = row["printed"] + (OFF_BY_ONE if row["marked"] else "")
        cells[row["quantity"], "ours"] = row["ours"]
    order = [("model", ""), *((q, which) for q in quantities for which in ("printed", "ours"))]
    wide = pd.DataFrame([[cells.get(column, "") for column in order] for cells in first.values()])
    wide.columns = [
        "model",
        *(title if which == "printed" else "ours" for q, title in quantities.items() for which in ("printed", "ours")),
    ]
    counted = exact_counts().drop(columns="name")
    second = table2()
    columns = {"layer": "layer", "ours_size": "size"}
    for quantity, title in (
        ("maps", "maps"),
        ("flop", "FLOP"),
        ("params", "params"),
        ("kept", "kept"),
        ("saved", "saved"),
    ):
        columns |= {f"printed_{quantity}": title, f"ours_{quantity}": "ours"}
    text = second[list(columns)].astype(object).where(second[list(columns)].notna(), "")
    text.columns = list(columns.values())
    return "\n".join(
        [
            "Table 1: printed, then ours to as many digits. One FLOP is a multiply-add; ResNet-34 without projections.",
            wide.to_string(index=False),
            f"{OFF_BY_ONE} off by one in the last digit under every convention.",
            "",
            "Exact counts; the text of the paper says that ResNet-34 has projections, its table leaves them out.",
            counted.assign(**{c: counted[c].map("{:,}".format) for c in ("flop", "params")}).to_string(index=False),
            "",
            "Table 2: VGG-16 layer by layer, and the maps kept and FLOP saved by VGG-16-A; printed, then ours.",
            text.to_string(index=False),
        ]
    )


def _exact(row: Row1, quantity: str) -> int | float:
    which = 0 if quantity.startswith("flop") else 1
    ours = counts(row.name)[which]
    if not quantity.endswith("pruned"):
        return ours
    return 1 - ours / counts(CONFIGURATIONS[row.name].network)[which]


def _beside(quantity: str, cell: Cell, exact: int | float) -> dict[str, object]:
    return {f"printed_{quantity}": cell.text, f"ours_{quantity}": cell.like(exact), f"exact_{quantity}": exact}
