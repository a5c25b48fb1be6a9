"""The paper's three tables as printed, digit by digit. Numbers are kept as text: "1.5e7" says how precise it is.

Two marks: OFF_BY_ONE for the five cells of Table 1 whose last digit no convention reproduces, UNSURE for what is
recalled and was not read in a stored text of the paper.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

OFF_BY_ONE = "†"
UNSURE = "unsure"


@dataclass(frozen=True)
class Cell:
    """A printed number: `text` is "3.13e8" or "34.2%", `mark` one of the two above or empty."""

    text: str
    mark: str = ""

    def __str__(self) -> str:
        return self.text + (self.mark if self.mark == OFF_BY_ONE else "")

    @property
    def value(self) -> float:
        """The number, a percentage as a share."""
        return float(self._decimal()) / (100 if self.text.endswith("%") else 1)

    def steps(self, value: float) -> int:
        """By how many steps of the last printed digit `value` (a share, for a percentage) differs once it is rounded
        to as many digits; 0 if the printed digits come out, positive if `value` is larger."""
        printed = self._decimal()
        step = Decimal((0, (1,), printed.as_tuple().exponent))  # type: ignore[arg-type]
        exact = Decimal(repr(value)) * (100 if self.text.endswith("%") else 1)
        return int((exact / step).quantize(Decimal(1), ROUND_HALF_UP) - printed / step)

    def like(self, value: float) -> str:
        """`value` in the form and precision of this cell."""
        digits = len(self._decimal().as_tuple().digits)
        if self.text.endswith("%"):
            places = max(0, -int(self._decimal().as_tuple().exponent))
            return f"{Decimal(repr(value)).scaleb(2).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)}%"
        exact = Decimal(repr(value))
        power = exact.adjusted()
        rounded = exact.scaleb(-power).quantize(Decimal(1).scaleb(1 - digits), ROUND_HALF_UP)
        if rounded >= 10:
            rounded, power = rounded.scaleb(-1).quantize(Decimal(1).scaleb(1 - digits)), power + 1
        return f"{rounded}e{power}"

    def _decimal(self) -> Decimal:
        return Decimal(self.text.removesuffix("%"))


@dataclass(frozen=True)
class Row1:
    """A row of Table 1: `name` of the configuration (see `configurations`), test error in % (the best seen while
    retraining), and what is printed of FLOP and parameters; None where the cell is empty."""

    name: str
    title: str
    error: float
    flop: Cell | None = None
    flop_pruned: Cell | None = None
    params: Cell | None = None
    params_pruned: Cell | None = None
    scratch: bool = False


def _cell(text: str) -> Cell:
    return Cell(text.removesuffix(OFF_BY_ONE), OFF_BY_ONE if text.endswith(OFF_BY_ONE) else "")


def _pruned(name: str, title: str, error: float, flop: str, flop_pruned: str, params: str, params_pruned: str) -> Row1:
    return Row1(name, title, error, _cell(flop), _cell(flop_pruned), _cell(params), _cell(params_pruned))


def _base(name: str, title: str, error: float, flop: str, params: str) -> Row1:
    return Row1(name, title, error, flop=Cell(flop), params=Cell(params))


TABLE1 = (
    _base("vgg16", "VGG-16", 6.75, "3.13e8", "1.5e7"),
    _pruned("vgg16-a", "VGG-16-A", 6.60, "2.06e8", "34.2%", "5.4e6", "64.0%"),
    Row1("vgg16-a", "VGG-16-A from scratch", 6.88, scratch=True),
    _base("resnet56", "ResNet-56", 6.96, "1.25e8", "8.5e5"),
    _pruned("resnet56-a", "ResNet-56-A", 6.90, "1.12e8", "10.4%", "7.7e5", "9.4%"),
    _pruned("resnet56-b", "ResNet-56-B", 6.94, "9.09e7", "27.6%", "7.3e5", "13.7%†"),
    Row1("resnet56-b", "ResNet-56-B from scratch", 8.69, scratch=True),
    _base("resnet110", "ResNet-110", 6.47, "2.53e8", "1.72e6"),
    _pruned("resnet110-a", "ResNet-110-A", 6.45, "2.13e8", "15.9%", "1.68e6", "2.3%"),
    _pruned("resnet110-b", "ResNet-110-B", 6.70, "1.55e8", "38.6%†", "1.16e6", "32.4%†"),
    Row1("resnet110-b", "ResNet-110-B from scratch", 7.06, scratch=True),
    _base("resnet34", "ResNet-34", 26.77, "3.64e9", "2.16e7"),
    _pruned("resnet34-a", "ResNet-34-A", 27.44, "3.08e9", "15.5%", "1.99e7†", "7.6%"),
    _pruned("resnet34-b", "ResNet-34-B", 27.83, "2.76e9", "24.2%", "1.93e7", "10.8%"),
    _pruned("resnet34-c", "ResNet-34-C", 27.52, "3.37e9", "7.5%†", "2.01e7", "7.2%"),
)


@dataclass(frozen=True)
class Row2:
    """A row of Table 2, VGG-16: output map width and height, maps, FLOP, parameters; then VGG-16-A's maps and the share
    of FLOP saved. Layers are `conv 1` to `conv 13`, `linear 1` (512) and `linear 2` (10)."""

    layer: str
    size: int
    maps: int
    flop: Cell
    params: Cell
    kept: int
    saved: Cell


def _row2(layer: str, size: int, maps: int, flop: str, params: str, kept: int, saved: str) -> Row2:
    return Row2(layer, size, maps, Cell(flop), Cell(params), kept, Cell(saved))


TABLE2 = (
    _row2("conv 1", 32, 64, "1.8e6", "1.7e3", 32, "50%"),
    _row2("conv 2", 32, 64, "3.8e7", "3.7e4", 64, "50%"),
    _row2("conv 3", 16, 128, "1.9e7", "7.4e4", 128, "0%"),
    _row2("conv 4", 16, 128, "3.8e7", "1.5e5", 128, "0%"),
    _row2("conv 5", 8, 256, "1.9e7", "2.9e5", 256, "0%"),
    _row2("conv 6", 8, 256, "3.8e7", "5.9e5", 256, "0%"),
    _row2("conv 7", 8, 256, "3.8e7", "5.9e5", 256, "0%"),
    _row2("conv 8", 4, 512, "1.9e7", "1.2e6", 256, "50%"),
    _row2("conv 9", 4, 512, "3.8e7", "2.4e6", 256, "75%"),
    _row2("conv 10", 4, 512, "3.8e7", "2.4e6", 256, "75%"),
    _row2("conv 11", 2, 512, "9.4e6", "2.4e6", 256, "75%"),
    _row2("conv 12", 2, 512, "9.4e6", "2.4e6", 256, "75%"),
    _row2("conv 13", 2, 512, "9.4e6", "2.4e6", 256, "75%"),
    _row2("linear 1", 1, 512, "2.6e5", "2.6e5", 512, "50%"),
    _row2("linear 2", 1, 10, "5.1e3", "5.1e3", 10, "0%"),
)
TABLE2_TOTAL = {"flop": Cell("3.1e8"), "params": Cell("1.5e7"), "saved": Cell("34%")}


@dataclass(frozen=True)
class Row3:
    """A row of Table 3: seconds for the whole test set in batches of 128, and the shares of FLOP and time saved."""

    name: str
    title: str
    seconds: Cell
    flop_saved: Cell | None = None
    time_saved: Cell | None = None


def _row3(name: str, title: str, seconds: str, flop: str = "", time: str = "") -> Row3:
    return Row3(name, title, Cell(seconds, UNSURE), Cell(flop, UNSURE) if flop else None,
                Cell(time, UNSURE) if time else None)  # fmt: skip


TABLE3 = (  # Torch7 on a Titan X; all of it UNSURE
    _row3("vgg16", "VGG-16", "1.23"),
    _row3("vgg16-a", "VGG-16-A", "0.73", "34.2%", "40.7%"),
    _row3("resnet56", "ResNet-56", "1.31"),
    _row3("resnet56-b", "ResNet-56-B", "0.99", "27.6%", "24.4%"),
    _row3("resnet110", "ResNet-110", "2.38"),
    _row3("resnet110-b", "ResNet-110-B", "1.86", "38.6%", "21.8%"),
    _row3("resnet34", "ResNet-34", "36.02"),
    _row3("resnet34-b", "ResNet-34-B", "28.04", "24.2%", "22.2%"),
)
