"""Copies of a picture that aren't the same pixels: resized, recompressed, mirrored or cropped, found by small pictures.

A copy that was cropped equals a *window* of its original. So each picture is compared with the windows of the others,
of 100, 90 and 80 % of their side, in both directions and mirrored too, on a grid of 8 x 8 cells: one matrix product a
window, which leaves a few candidates a picture. Each of these is then laid over the picture as exactly as possible, and
two things count: the correlation of their details, a 16 x 16 grid less its own blur, and how far their colours lie
apart. Pictures of one scene share their large shapes; only copies share their details, in the same light.
"""

from collections.abc import Iterator
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
COARSE, FINE, BLUR = 8, 16, 5
"""Cells a side of the search and of the check, and the blur that is taken off before the check."""
WINDOWS = ((1.0, 1), (0.9, 3), (0.8, 4))
"""Side of a window as a share, and how many places it has along a side."""
LIKELY, CANDIDATES = 0.85, 2
"""Coarse correlation that a candidate has at least, and candidates a picture."""
QUERIES, PAIRS = 256, 2048
"""Pictures that are compared, and pairs that are checked, at a time."""
MOST_PAIRS = 2_000_000_000
"""Pairs of two sets among which copies are looked for at most: some hours of a processor."""
WHOLE = (1.0, 0.0, 0.0)
STEPS = (0.05, 0.05, 0.025, 0.025, 0.0125, 0.0125, 0.00625)
MOVES = ((0, 0, 0), (1, -0.5, -0.5), (-1, 0.5, 0.5), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))
"""Steps of a window (side about its middle, corner) that are tried one after the other, and their sizes."""

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
        likely, at = _candidates(some, second)
        query, place = (likely >= LIKELY).nonzero(as_tuple=True)
        scores = torch.full_like(likely, -1.0)
        for part in (slice(low, low + PAIRS) for low in range(0, len(query), PAIRS)):
            pictures = _tensor(second[at[query[part], place[part]].cpu().numpy()], device)
            scores[query[part], place[part]] = likeness(some[query[part]], pictures)
        best, which = scores.max(dim=1)
        for row in (best >= ALIKE).nonzero()[:, 0].tolist():
            results.append(Copy(start + row, int(at[row, which[row]]), float(best[row])))
    return results


def _tensor(pictures: Pictures, device: torch.device | str) -> Tensor:
    return torch.from_numpy(np.array(pictures)).to(device).permute(0, 3, 1, 2).float() / 255


def _windows() -> Iterator[tuple[float, float, float]]:
    """Yield side and corner of each window, as shares of a picture's side; the whole picture first."""
    for side, places in WINDOWS:
        corners = np.linspace(0.0, 1.0 - side, places)
        yield from ((side, x, y) for y in corners.tolist() for x in corners.tolist())


def _cut(pictures: Tensor, windows: Tensor, cells: int) -> Tensor:
    """Return a window (N, 3, cells, cells) of each picture; of each its side and corner, (N, 3), as shares."""
    steps = (torch.arange(cells, device=windows.device) + 0.5) / cells
    side, x, y = windows.T[:, :, None]
    across, down = (2 * (corner + side * steps) - 1 for corner in (x, y))
    grid = torch.stack([across[:, None, :].expand(-1, cells, -1), down[:, :, None].expand(-1, -1, cells)], -1)
    cut: Tensor = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    return cut


def _unit(grids: Tensor) -> Tensor:
    """Return grids (N, 3, C, C) as unit rows, each channel less its mean; a picture of one colour is all zero."""
    flat = (grids - grids.mean(dim=(2, 3), keepdim=True)).flatten(1)
    unit: Tensor = flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-3)
    return unit


def _details(grids: Tensor) -> Tensor:
    blurred = F.avg_pool2d(F.pad(grids, [BLUR // 2] * 4, mode="reflect"), BLUR, 1)
    return _unit(grids - blurred)


def _coarse(pictures: Tensor, window: tuple[float, ...] | list[float]) -> Tensor:
    places = pictures.new_tensor(window).expand(len(pictures), -1)
    return _unit(F.avg_pool2d(_cut(pictures, places, 2 * COARSE), 2))


def _candidates(some: Tensor, others: Pictures) -> tuple[Tensor, Tensor]:
    """Return coarse correlations (M, C) and positions (M, C) of the most like pictures, the most like first."""
    turned, parts = (some, some.flip(3)), [*_windows()][1:]
    wholes = torch.cat([_coarse(pictures, WHOLE) for pictures in turned])
    windows = torch.cat([_coarse(pictures, window) for pictures in turned for window in parts])
    best, at = some.new_zeros(len(some), 0), torch.zeros(len(some), 0, dtype=torch.long, device=some.device)
    for start in range(0, len(others), PAIRS):
        block = _tensor(others[start : start + PAIRS], some.device)
        whole = _coarse(block, WHOLE)
        scores = (torch.cat([wholes, windows]) @ whole.T).reshape(-1, len(some), len(block)).amax(dim=0)
        for window in parts:
            cells = _coarse(block, window)
            scores = torch.maximum(scores, (wholes @ cells.T).reshape(2, len(some), -1).amax(dim=0))
        values, places = torch.cat([best, scores], 1).topk(min(CANDIDATES, best.shape[1] + len(block)), dim=1)
        new = start + torch.arange(len(block), device=some.device)
        at = torch.cat([at, new.expand(len(some), -1)], 1).gather(1, places)
        best = values
    return best, at


def likeness(first: Tensor, second: Tensor) -> Tensor:
    """Return how much the details of pairs of pictures correlate (P,), one laid best over a window of the other.

    Where their colours lie further apart than `APART`, that is 0.

    Args:
        first: Pictures (P, 3, SIDE, SIDE) in [0, 1].
        second: The others, in their order.
    """
    count, windows, turned = len(first), [*_windows()], first.flip(3)
    one, mirrored, other = (_coarse(pictures, WHOLE) for pictures in (first, turned, second))
    scores = []
    for window in windows:
        large, small, mirror = (_coarse(pictures, window) for pictures in (second, first, turned))
        scores += [(one * large).sum(1), (mirrored * large).sum(1), (other * small).sum(1), (other * mirror).sum(1)]
    best = torch.stack(scores).argmax(dim=0)
    way, chosen = best % 4, first.new_tensor(windows)[best // 4]
    smalls, larges = torch.stack([first, turned, second, second]), torch.stack([second, second, first, turned])
    pair = torch.arange(count)
    return _refined(smalls[way, pair], larges[way, pair], chosen)


def _refined(small: Tensor, large: Tensor, window: Tensor) -> Tensor:
    """Return the likeness (P,) of whole pictures and windows (P, 3) of others, which are moved to where they fit."""
    blurred = F.avg_pool2d(F.pad(large, (0, 1, 0, 1), mode="replicate"), 2, 1)
    whole, moves = small.new_tensor(WHOLE).expand(len(small), -1), small.new_tensor(MOVES)
    grid = _cut(F.avg_pool2d(F.pad(small, (0, 1, 0, 1), mode="replicate"), 2, 1), whole, FINE)
    rows = _unit(grid)
    for step in STEPS:
        tries = window[None] + step * moves[:, None]
        cuts = torch.stack([(rows * _unit(_cut(blurred, places, FINE))).sum(dim=1) for places in tries])
        window = tries[cuts.argmax(dim=0), torch.arange(len(small))]
    other = _cut(blurred, window, FINE)
    apart = (grid - other).square().mean(dim=(1, 2, 3)).sqrt()
    return torch.where(apart <= APART, (_details(grid) * _details(other)).sum(dim=1), 0.0)
