"""``starft prompts list``: the pools at hand with their size and provenance, and the queries to make more."""

from pathlib import Path

from rich.table import Table

from starft.captions.pool_files import LOCAL_POOLS, list_pools, load_pool
from starft.errors import PoolError
from starft.prompting.query import list_queries, load_query
from starft.reporting.console import Console
from starft.safe_text import say, visible


def list_at_hand(folder: str = str(LOCAL_POOLS)) -> int:
    """List the shipped pools and those of a folder, with their size and where they come from, and the queries.

    Args:
        folder: Where pools of your own are.
    """
    own = [path for kind in ("*.json", "*.txt") for path in Path(folder).glob(kind)]
    files = {path.resolve(): path for path in (*sorted(own), *list_pools())}
    console = Console(160)
    table = Table("pool", "templates", "classes", "source", "model", "query", "created", "file", box=None)
    broken = []
    for path in sorted(files.values(), key=lambda path: (path.stem, str(path))):
        try:
            pool = load_pool(path.as_posix())
        except PoolError as error:
            broken.append(str(error))
            continue
        told = pool.provenance
        size = sum(map(len, pool.per_class.values()))
        table.add_row(
            pool.name,
            str(len(pool.templates)),
            f"{size} for {len(pool.per_class)}" if pool.per_class else "-",
            *(visible(str(told.get(key) or "-")) for key in ("source", "model", "query")),
            str(told.get("created") or "-")[:10],
            str(path) if path.parent == Path(folder) else "shipped",
        )
    console.print(table)
    for problem in broken:
        say(f"Not usable: {problem}")
    queries = Table("query", "kind", "phrases", "about", box=None)
    for path in list_queries():
        query = load_query(path.stem)
        queries.add_row(query.name, query.kind, str(query.count), query.description)
    console.print()
    console.print(queries)
    return 0
