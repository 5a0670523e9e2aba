"""Copies of a picture that aren't the same pixels: resized, recompressed, mirrored or cropped, found by small pictures.

A copy that was cropped equals a *window* of its original. So each picture is compared with the windows of the others,
of 100, 90 and 80 % of their side, in both directions and mirrored too: the colours of 4 x 4 cells tell the nearest few,
by one matrix product a window. For each of these the window is moved to where the pictures fit best, on 8 x 8 cells
and, where those still look alike, on 16 x 16. Two things count: the correlation of their details, which is the grid
less its own blur, and how far their colours lie apart. Pictures of one scene share their large shapes; only copies
share their details, in the same light.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

SIDE = 32
"""Pixels of a small picture's side."""
ALIKE = 0.9
"""Correlation of details that copies have at least; chosen on drawings, see docs/audit.md."""
APART = 0.03
"""How far the colours of copies lie apart at most, root mean square, in [0, 1]."""
ROUGH, BLUR = 4, 5
"""Cells a side of the search, and the blur that is taken off a grid before details are compared."""
WINDOWS = ((1.0, 1), (0.9, 2), (0.8, 3))
"""Side of a window as a share, and how many places it has along a side."""
NEAR, CANDIDATES, LIKELY = 0.06, 2, 0.7
"""How far colours lie apart at most before the last check, candidates a picture, and least correlation till then."""
CHECKS = (
    (8, (0.05, 0.025, 0.025), LIKELY, NEAR),
    (16, (0.05, 0.025), LIKELY, NEAR),
    (16, (0.025, 0.0125, 0.0125, 0.00625), ALIKE, APART),
)
"""Cells a side, by how much windows are moved one after the other, least correlation, and colours' distance at most."""
QUERIES, PAIRS = 1024, 256
"""Pictures that are compared, and others or pairs of which that is done at a time."""
MOST_PAIRS = 20_000_000_000
"""Pairs of two sets among which copies are looked for at most: about an hour of a processor."""
MOVES = ((0, 0, 0), (1, -0.5, -0.5), (-1, 0.5, 0.5), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))
"""Ways to move a window: its side about its middle, and its corner."""

Pictures = NDArray[np.uint8]


class Copy(NamedTuple):
    """One picture and another that it is a copy of.

    Args:
        first: Position among the first pictures.
        second: Position among the second.
        likeness: Correlation of their details, `ALIKE` at least.
    """

    first: int
    second: int
    likeness: float


def small_picture(image: Image.Image) -> Pictures:
    """Return the middle square of a picture (SIDE, SIDE, 3), as most models see it.

    Args:
        image: 8-bit RGB.
    """
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX, box))


def copies(first: Pictures, second: Pictures, device: torch.device | str = "cpu") -> list[Copy]:
    """Return the pictures of the first set that are copies of one of the second, each with the nearest.

    Args:
        first: Pictures (M, SIDE, SIDE, 3).
        second: Pictures (N, SIDE, SIDE, 3).
        device: Where they are compared.
    """
    results: list[Copy] = []
    if not len(first) or not len(second):
        return results
    for start in range(0, len(first), QUERIES):
        some = _tensor(first[start : start + QUERIES], device)
        apart, at = _candidates(some, second)
        query, place = (apart <= NEAR).nonzero(as_tuple=True)
        scores = torch.zeros_like(apart)
        for part in (slice(low, low + PAIRS) for low in range(0, len(query), PAIRS)):
            pictures = _tensor(second[at[query[part], place[part]].cpu().numpy()], device)
            scores[query[part], place[part]] = likeness(some[query[part]], pictures)
        best, which = scores.max(dim=1)
        for row in (best >= ALIKE).nonzero()[:, 0].tolist():
            results.append(Copy(start + row, int(at[row, which[row]]), float(best[row])))
    return results


def likeness(first: Tensor, second: Tensor) -> Tensor:
    """Return how much the details of pairs of pictures correlate (P,), one laid best over a window of the other.

    Where they aren't copies, as their details correlate by less than `ALIKE` or their colours lie further apart than
    `APART`, that is 0.

    Args:
        first: Pictures (P, 3, SIDE, SIDE) in [0, 1].
        second: The others, in their order.
    """
    one, other, places = _rough(first), _rough(second), first.new_tensor(_places())
    best = torch.cat([*_pair_scores(one, other), *_pair_scores(other, one)]).argmax(dim=0)
    way, windows = best // len(places), places[best % len(places)]
    inside = (way < 2)[:, None, None, None]
    small, large = torch.where(inside, first, second), torch.where(inside, second, first)
    mirrored = way % 2 == 1
    small[mirrored] = small[mirrored].flip(3)
    result, own = first.new_zeros(len(first)), torch.arange(len(first), device=first.device)
    for cells, steps, least, most in CHECKS:
        grids, others, windows = _fitted(small, large, windows, cells, steps)
        details = _product(_details(grids), _details(others))
        kept = (details >= least) & (_apart(grids, others) <= most)
        small, large, windows, own, details = (item[kept] for item in (small, large, windows, own, details))
        if not len(own):
            return result
    result[own] = details
    return result


def _tensor(pictures: Pictures, device: torch.device | str) -> Tensor:
    return torch.from_numpy(np.array(pictures)).to(device).permute(0, 3, 1, 2).contiguous().float() / 255


def _corners(side: float, places: int) -> Tensor:
    return torch.linspace(0.0, 1.0 - side, places)


def _places() -> list[tuple[float, float, float]]:
    """Return side and corner (x, y) of each window, as shares of a picture's side; the whole picture first."""
    each = [(side, _corners(side, places).tolist()) for side, places in WINDOWS]
    return [(side, x, y) for side, corners in each for y in corners for x in corners]


class Rough(NamedTuple):
    """Windows (W, N) of pictures on 4 x 4 cells, in the order of `_places`.

    The product of two windows is the sum of the products of their halves; with the other one mirrored, the difference.

    Args:
        even: What is the same in the mirror (W, N, D).
        odd: What changes its sign there (W, N, D).
        size: Half of the squared length (W, N).
    """

    even: Tensor
    odd: Tensor
    size: Tensor


def _rough(pictures: Tensor) -> Rough:
    columns = pictures[..., ::2] + pictures[..., 1::2]
    halved = (columns[..., ::2, :] + columns[..., 1::2, :]) / 4 - 0.5
    cells = halved.flatten(2) @ _cells().to(pictures)
    rows = cells.view(len(pictures), 3, 2, len(_places()), -1).permute(2, 3, 0, 1, 4).flatten(3)
    return Rough(rows[0], rows[1], rows.square().sum(dim=(0, 3)) / 2)


@cache
def _cells() -> Tensor:
    """Return the weights (PIXELS, 2 * W * 8) of a halved picture's pixels in the cells of all windows.

    Half of them are even sums of cells that are each other's mirror image, the others are the differences.
    """
    side = SIDE // 2
    steps, windows = (torch.arange(4 * ROUGH) + 0.5) / (4 * ROUGH), []
    pixels = torch.eye(side * side).view(-1, side, side)
    for share, places in WINDOWS:
        # A cell is the mean of 4 x 4 points between pixels, so that columns and rows of pixels have weights each.
        points = (side * (_corners(share, places)[:, None] + share * steps) - 0.5).clamp(0, side - 1)
        near = (1 - (points[..., None] - torch.arange(side)).abs()).clamp(min=0)
        weights = near.view(places * ROUGH, 4, side).mean(dim=1)
        cells = (weights @ pixels @ weights.T).view(-1, places, ROUGH, places, ROUGH)
        windows.append(cells.transpose(2, 3).flatten(1, 2))
    every = torch.cat(windows, dim=1)
    left, right = every[..., : ROUGH // 2], every.flip(-1)[..., : ROUGH // 2]
    return torch.stack([left + right, left - right], dim=1).flatten(1) / 2**0.5


def _pair_scores(wholes: Rough, windows: Rough) -> tuple[Tensor, Tensor]:
    """Return -1/2 of the squared distance (W, P) of pictures, and of mirrored ones, from windows of the others."""
    even, odd = ((own[0] * other).sum(dim=2) for own, other in zip(wholes[:2], windows[:2], strict=True))
    size = wholes.size[0] + windows.size
    return even + odd - size, even - odd - size


def _candidates(some: Tensor, others: Pictures) -> tuple[Tensor, Tensor]:
    """Return how far colours lie apart (M, C), and positions (M, C), of the nearest pictures, the nearest first."""
    own, count = _rough(some), len(_places())
    best, at = some.new_zeros(len(some), 0), torch.zeros(len(some), 0, dtype=torch.long, device=some.device)
    for start in range(0, len(others), PAIRS):
        block = _rough(_tensor(others[start : start + PAIRS], some.device))
        scores = some.new_full((len(some), block.size.shape[1]), -torch.inf)
        for a, b in [(0, 0), *((one, 0) for one in range(1, count)), *((0, one) for one in range(1, count))]:
            near = (own.odd[a] @ block.odd[b].T).abs_().addmm_(own.even[a], block.even[b].T)
            torch.maximum(scores, near.sub_(own.size[a][:, None]).sub_(block.size[b]), out=scores)
        values, places = torch.cat([best, scores], 1).topk(min(CANDIDATES, best.shape[1] + scores.shape[1]), dim=1)
        new = start + torch.arange(scores.shape[1], device=some.device)
        at = torch.cat([at, new.expand(len(some), -1)], 1).gather(1, places)
        best = values
    return (-2 * best / (3 * ROUGH * ROUGH)).clamp(min=0).sqrt(), at


def _cut(pictures: Tensor, windows: Tensor, cells: int) -> Tensor:
    """Return windows (N, 3, K, cells, cells) of pictures; of each its side and corner, (N, K, 3), as shares."""
    steps = (torch.arange(cells, device=windows.device) + 0.5) / cells
    side, x, y = windows[..., None].unbind(2)
    across, down = (2 * (corner + side * steps) - 1 for corner in (x, y))
    grid = torch.stack([across[:, :, None].expand(-1, -1, cells, -1), down[..., None].expand(-1, -1, -1, cells)], dim=4)
    cut: Tensor = F.grid_sample(pictures, grid.flatten(1, 2), padding_mode="border", align_corners=False)
    return cut.view(*cut.shape[:2], -1, cells, cells)


def _unit(grids: Tensor) -> Tensor:
    """Return grids (N, 3, ..., C, C) of length 1, each channel less its mean; a grid of one colour is all zero."""
    rest = grids - grids.mean(dim=(-2, -1), keepdim=True)
    unit: Tensor = rest / rest.square().sum(dim=(1, -2, -1), keepdim=True).sqrt().clamp_min(1e-3)
    return unit


def _product(grids: Tensor, others: Tensor) -> Tensor:
    return (grids * others).sum(dim=(1, -2, -1))


def _details(grids: Tensor) -> Tensor:
    blurred = F.avg_pool2d(F.pad(grids, [BLUR // 2] * 4, mode="reflect"), BLUR, 1)
    return _unit(grids - blurred)


def _apart(grids: Tensor, others: Tensor) -> Tensor:
    return (grids - others).square().mean(dim=(1, 2, 3)).sqrt()


def _fitted(
    small: Tensor, large: Tensor, windows: Tensor, cells: int, steps: tuple[float, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return grids (P, 3, cells, cells) of pictures and of windows of others, which are moved to where they fit.

    The windows (P, 3) are the third.
    """
    near = (torch.arange(SIDE)[:, None] + torch.arange(SIDE // cells)).clamp(max=SIDE - 1)
    blur = torch.eye(SIDE)[near].mean(dim=1).to(small)
    small, large = (((pictures @ blur.T).mT.contiguous() @ blur.T).mT for pictures in (small, large))
    moves, pairs = small.new_tensor(MOVES), torch.arange(len(small), device=small.device)
    grids = _cut(small, small.new_tensor([[[1.0, 0.0, 0.0]]]).expand(len(small), -1, -1), cells)
    unit = _unit(grids)
    for step in steps:
        tries = windows[:, None] + step * moves
        windows = tries[pairs, _product(unit, _unit(_cut(large, tries, cells))).argmax(dim=1)]
    return grids[:, :, 0], _cut(large, windows[:, None], cells)[:, :, 0], windows
