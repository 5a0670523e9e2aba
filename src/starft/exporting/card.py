"""README.md of an export: what the model is, how it is used, what it was trained on and by, what its run found."""

from collections.abc import Iterable, Sequence

from starft.exporting.origin import Origin, data_facts, tested_checkpoint, training_facts
from starft.exporting.snippets import NEAR, usage
from starft.inference.classifier import Classifier
from starft.runs.results import FEW_IMAGES, Group, Interval, Results, Scores, legend
from starft.safe_text import markdown_text
from starft.wording import count_of

METRICS = {
    "acc": "accuracy",
    "top5_acc": "top 5",
    "worst_group_acc": "worst group",
    "typical_acc": "typical",
    "atypical_acc": "atypical",
    "group_mean_acc": "group mean",
    "adjusted_acc": "adjusted",
    "macro_f1": "macro F1",
    "ece": "ECE",
    "text_head_acc": "text head",
}
"""What the table shows, where there is any of it, and how it calls it."""
GROUPS = 100
"""Groups that are listed of a set."""

HEAD = (
    "This model is CLIP alone: captions score zero-shot. The trained head lies beside it in `head.safetensors`, "
    "(classes, features) and scaled: logits are unit image features times its transpose."
)
FRONT = "---\nlibrary_name: {library}\npipeline_tag: {task}\ntags:\n- clip\n- starft\n---"
LIBRARY = {"open_clip": "open_clip", "hf": "transformers", "onnx": "onnx", "head": "starft"}


def card(model: Classifier, form: str, name: str, origin: Origin, on_hub: bool = False) -> str:
    """Return the text of a model card.

    Args:
        model: What is exported.
        form: Which format.
        name: How the folder, or the hub's repository, is called.
        origin: What is known of its run.
        on_hub: Whether the name is that of a repository of the hub.
    """
    height, width = model.preprocessing.size
    names = [markdown_text(item) for item in model.class_names[:100]]
    more = f", and {len(model.class_names) - 100} more" if len(model.class_names) > 100 else ""
    linear = model.linear_head is not None
    head = "a trained linear head" if linear else "the zero-shot head of the tuned text tower"
    zero_shot = form in ("open_clip", "hf")
    task = "zero-shot-image-classification" if zero_shot else "image-classification"
    base = dict(training_facts(origin.config, origin.results)).get("pre-trained model")
    message = "A CLIP model fine-tuned with [starft](https://arxiv.org/abs/2505.13232)"
    message += f" from {markdown_text(base)}" if base else ""
    message += (
        f", for {count_of(len(model.class_names), 'class name')} and images of {height} x {width}, scored by {head}."
    )
    parts = [
        FRONT.format(library=LIBRARY[form], task=task),
        f"# {markdown_text(name)}",
        message + _headline(origin.results),
        f"## Use\n\n```python\n{usage(form, name, on_hub, linear, model.preprocessing)}\n```",
    ]
    if form == "hf":
        parts.append(NEAR)
    if zero_shot and linear:
        parts.append(HEAD)
    parts.append(f"## Results\n\n{_results(origin)}")
    captions = ", ".join(f"“{markdown_text(template)}”" for template in model.templates)
    parts.append(f"## Classes\n\n{', '.join(names)}{more}\n\nCaptions: {captions}")
    for title, facts in (
        ("Training data", list(data_facts(origin.config))),
        ("Training settings", list(training_facts(origin.config, origin.results))),
    ):
        parts.append(f"## {title}\n\n" + (_table(("option", "value"), facts) if facts else "The run left no config."))
    return "\n\n".join(parts) + "\n"


def _headline(results: Results | None) -> str:
    """Return the numbers that a reader looks for first; nothing of a run that wasn't tested."""
    if results is None:
        return ""
    usual = sorted((item for item in results.sets.items() if not item[1].ood), key=lambda held: len(held[1].groups) > 1)
    messages = []
    if usual and usual[0][1].metrics.get("acc") is not None:
        name, scores = usual[0]
        messages.append(f"{_share(scores.metrics['acc'], None)} % accuracy on “{markdown_text(name)}”")
    if results.ood_acc is not None:
        messages.append(f"{_share(results.ood_acc, None)} % out of distribution")
    for name, scores in results.sets.items():
        if not scores.ood and scores.metrics.get("worst_group_acc") is not None:
            worst = f"{_share(scores.metrics['worst_group_acc'], None)} % in the worst group of “{markdown_text(name)}”"
            messages.append(worst + _few_images(scores))
            if scores.metrics.get("atypical_acc") is not None:
                messages.append(
                    f"{_share(scores.metrics['atypical_acc'], None)} % on its images without the usual attribute"
                )
    return f" It reaches **{', '.join(messages)}**." if messages else ""


def _few_images(scores: Scores) -> str:
    """Return how many images the worst group has where they are too few to say much, else an empty string."""
    seen = [(group.acc, group.n) for group in scores.groups if group.acc is not None]
    size = min(seen, default=(0.0, FEW_IMAGES))[1]
    return f" ({count_of(size, 'image')})" if size < FEW_IMAGES else ""


def _results(origin: Origin) -> str:
    results = origin.results
    if origin.problem is not None:
        return f"{markdown_text(origin.problem)}."
    if results is None:
        return "The run wasn't tested (`starft test`)."
    shown = [
        metric for metric in METRICS if any(item.metrics.get(metric) is not None for item in results.sets.values())
    ]
    rows = [
        (name, str(item.n), *(_share(item.metrics.get(metric), item.interval(metric)) for metric in shown))
        for name, item in results.sets.items()
    ]
    parts = [
        "In %, by `starft test`, with 95 % intervals where there are any.",
        _table(("eval set", "images", *(METRICS[metric] for metric in shown)), rows, numbers=True),
    ]
    if told := legend(shown):
        parts.append(told)
    if results.ood_acc is not None:
        counted = ", ".join(markdown_text(name) for name, item in results.sets.items() if item.ood)
        parts.append(f"Mean accuracy out of distribution ({counted}): {100 * results.ood_acc:.1f}.")
    for name, entry in results.sets.items():
        if len(entry.groups) > 1:
            parts.append(_groups(name, entry))
    if results.note is not None:
        parts.append(f"{markdown_text(results.note)}.")
    return "\n\n".join([*parts, _provenance(results)])


def _groups(name: str, one: Scores) -> str:
    known = [group for group in one.groups if group.acc is not None]
    # the worst come first where not all are listed
    listed: Sequence[Group] = one.groups
    cut = ""
    if len(one.groups) > GROUPS:
        listed = sorted(known, key=lambda group: group.acc or 0.0)[:GROUPS]
        cut = f"\n\nThe {GROUPS} worst of {len(one.groups)}."
    rows = [(group.name, str(group.n), _share(group.acc, group.ci95)) for group in listed]
    worst = min(known, key=lambda group: group.acc or 0.0, default=None)
    message = ""
    if worst is not None:
        interval = one.interval("worst_group_acc") or worst.ci95
        message = f"\n\nWorst group: {markdown_text(worst.name)}, {_share(worst.acc, interval)}."
    table = _table(("group", "images", "accuracy"), rows, numbers=True)
    return f"### Groups of the set “{markdown_text(name)}”\n\n{table}{cut}{message}"


def _provenance(results: Results) -> str:
    facts, versions = results.facts, results.facts.get("versions") or {}
    tested = tested_checkpoint(results)
    messages = [
        *([f"checkpoint {tested}"] if tested is not None else []),
        *(
            f"{word} {facts[key]}"
            for word, key in (("seed", "seed"), ("commit", "git_commit"))
            if facts.get(key) is not None
        ),
        *(f"{name} {versions[name]}" for name in ("starft", "torch", "open_clip_torch") if name in versions),
    ]
    return f"Of one run: {markdown_text(', '.join(messages))}."


def _share(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return "–"
    ends = "" if interval is None else f" ({100 * interval[0]:.1f}–{100 * interval[1]:.1f})"
    return f"{100 * value:.1f}{ends}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: bool = False) -> str:
    """Return a table; of numbers all columns but the first stand to the right."""
    lines = [f"| {' | '.join(heads)} |", "|---" + ("|---:" if numbers else "|---") * (len(heads) - 1) + "|"]
    lines += [f"| {' | '.join(markdown_text(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)
