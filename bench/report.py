"""The results as text."""

from __future__ import annotations

from statistics import median
from typing import Any


def machine_lines(machine: dict[str, Any]) -> str:
    """Describe what the figures were measured on."""
    threads = f"{threads_of(machine)} each"
    if machine["pinned_to"]:
        several = "s" if len(machine["pinned_to"]) > 1 else ""
        threads += f", pinned to core{several} {', '.join(map(str, machine['pinned_to']))}"
    versions = f"Python {machine['python']}, NumPy {machine['numpy']}"
    versions += f" ({machine['blas']})" if machine["blas"] else ""
    return f"{machine['processor']}; {threads}; SIMD level of nnfast: {machine['simd']}\n{versions}"


def race_lines(result: dict[str, Any]) -> str:
    """Return the table of one training: times relative to nnfast's, and whether all trained the same network."""
    told = (
        f"{result['rows']:,} rows of {result['data']}; {result['steps']:,} steps of each, in {result['rounds']} rounds"
    )
    lines = [told, f"{'':14}{'time / nnfast time':^24}{'µs a step':>12}{'test loss':>12}{'test accuracy':>15}"]
    for name, peer in result["peers"].items():
        lines.append(
            f"{name:14}{in_words(peer['ratio'])}{peer['microseconds']['median']:>12.1f}"
            f"{peer['loss']:>12.4f}{peer['accuracy']:>15.4f}"
        )
    lines += left_out(result)
    lines += [f"NOT THE SAME NETWORK: {disagreement}" for disagreement in result["disagreements"]]
    return "\n".join(lines)


def peak_lines(run: dict[str, Any]) -> str:
    """Return nnfast's speed as a share of the best matrix product in the run."""
    size, gflops = run["peak"]["size"], run["peak"]["gflops"]
    library, best = max(gflops.items(), key=lambda item: item[1])
    lines = [f"The best product of {size} x {size} matrices: {best:.0f} GFLOP/s, by {library}. Share of that:"]
    for race in run["training"]:
        own = next(iter(race["peers"].values()))["gflops"]
        lines.append(f"{race['workload']:14}{100 * own / best:>6.0f} %  ({race['flops'] / 1e6:.1f} MFLOP a step)")
    return "\n".join(lines)


def inference_lines(result: dict[str, Any]) -> str:
    """Return the table of inference with one network."""
    title = f"{result['rows']:,} samples"
    lines = [f"{'':14}{'one sample / nnfast':^24}{'µs':>10}    {title + ' / nnfast':^24}{'µs':>10}"]
    for name, peer in result["peers"].items():
        one, many = peer["one"], peer["many"]
        lines.append(
            f"{name:14}{in_words(one['ratio'])}{one['microseconds']['median']:>10.2f}    "
            f"{in_words(many['ratio'])}{many['microseconds']['median']:>10.0f}"
        )
    lines += left_out(result)
    lines += [f"NOT THE SAME NETWORK: {name}" for name in result["disagreements"]]
    return "\n".join(lines)


def threads_lines(results: list[dict[str, Any]]) -> str:
    """Return the table of speedups of `fit` with more threads."""
    counts = list(results[0]["speedup"])
    head = "".join(f"{count + ' thread' + 's' * (count != '1'):^24}" for count in counts)
    lines = ["How many times as fast as on one thread:", f"{'':14}{head}"]
    for result in results:
        row = "".join(in_words(result["speedup"][count]) for count in counts)
        lines.append(f"{result['workload']:14}{row}{'' if result['same_bits'] else '  NOT THE SAME BITS'}")
    return "\n".join(lines)


def many_lines(result: dict[str, Any]) -> str:
    """Return the table of the training of many networks."""
    lines = [
        f"{result['networks']:,} networks {result['workload']}; {result['rounds']} rounds of {result['steps']} steps",
        f"{'':24}{'time / fit_many time':^24}{'bar':>6}{'µs a step of one':>20}",
    ]
    for name, found in result["contenders"].items():
        bar = result["bars"].get(name)
        line = f"{name:24}{in_words(found['ratio'])}{bar or '':>6}{found['microseconds']['median']:>20.2f}"
        lines.append(line + "  below the bar" if bar and found["ratio"]["median"] < bar else line)
    lines += left_out(result)
    return "\n".join([*lines, *(f"NOT THE SAME NETWORKS: {what}" for what in result["disagreements"])])


def gradients_lines(result: dict[str, Any]) -> str:
    """Return the figures of numerical gradients."""
    network, training, function = result["network"], result["training"], result["function"]
    own, book = (network["seconds"][name]["median"] for name in ("nnfast", "NumPy"))
    numerical, backward = training["numerical"], training["backpropagation"]
    lines = [
        f"784-50-10 sigmoid, float64, {network['digits']} rows of {network['data']}, all {network['parameters']:,} "
        f"parameters: {own:.3f} s; the book's loop in NumPy {book:.1f} s "
        f"(estimated from {network['sampled']} of them), {in_words(network['ratio']).strip()} times as long;",
        f"the largest difference between the two is {network['difference']:.1e}, of slopes up to "
        f"{network['largest']:.1e}",
        f"training with numerical gradients, {training['steps']:,} steps of 100: {numerical['seconds']:.1f} s, "
        f"accuracy {numerical['accuracy']:.4f}; with backpropagation {backward['seconds']:.2f} s, "
        f"{backward['accuracy']:.4f}",
        f"Rosenbrock's function in {function['variables']:,} variables:",
        f"{'':26}{'ms':>10}{'time / first':>14}{'relative error':>16}",
    ]
    for name, found in function["contenders"].items():
        milliseconds = 1e3 * found["seconds"]["median"]
        lines.append(f"{name:26}{milliseconds:>10.2f}{found['ratio']:>14.3f}{found['error']:>16.1e}")
    return "\n".join([*lines, *left_out(function)])


def ingredients_lines(result: dict[str, Any]) -> str:
    """Return the table of what each ingredient costs."""
    libraries = [name for name in ("nnfast", "PyTorch") if name not in result["absent"]]
    columns = "".join(f"{name + ': with / without':^26}{'µs without':>12}{'µs with':>9}" for name in libraries)
    lines = [
        f"What an ingredient costs: {result['workload']};",
        f"{result['rounds']} rounds of {result['steps']} steps with it and as many without",
        f"{'':18}{'bar':>6}{columns}",
    ]
    for name, found in result["ingredients"].items():
        line = f"{name:18}{found['bar'] or '':>6}"
        for library in libraries:
            times = found[library]["microseconds"]
            line += f"  {in_words(found[library]['ratio'])}{times['without']:>12.0f}{times['with']:>9.0f}"
        if found["bar"] and found["nnfast"]["ratio"]["median"] > found["bar"]:
            line += "  above the bar"
        lines.append(line if found["agree"] else line + "  NOT THE SAME NETWORK")
    return "\n".join([*lines, *left_out(result)])


def mnist_lines(result: dict[str, Any]) -> str:
    """Return the table for the recipe for MNIST."""
    lines = [
        f"The recipe of examples/mnist_best.py on {result['rows']:,} rows of {result['data']}: {result['epochs']} "
        f"epochs in mini-batches of {result['batch']}; {result['seeds']} seeds",
        f"{'':14}{'test accuracy (%)':^24}{'seconds':^24}",
    ]
    for name, peer in result["peers"].items():
        percent = {which: 100 * value for which, value in peer["accuracy"].items()}
        lines.append(f"{name:14}{in_words(percent)}{in_words(peer['seconds'])}")
    return "\n".join([*lines, *left_out(result)])


def imports_line(result: dict[str, Any]) -> str:
    """Return the time of `import nnfast` as a ratio to that of `import numpy`."""
    ratio, milliseconds = result["ratio"], result["milliseconds"]
    return (
        f"import nnfast: {ratio['median']:.2f} times import numpy ({ratio['min']:.2f} to {ratio['max']:.2f} in "
        f"{result['rounds']} rounds; {milliseconds['nnfast']:.0f} and {milliseconds['numpy']:.0f} ms)"
    )


def sweep_lines(cells: list[dict[str, Any]]) -> str:
    """List the cells with the lowest ratios."""
    ahead = sum(cell["ratio"] >= 1 for cell in cells)
    ratios = [cell["ratio"] for cell in cells]
    lines = [
        f"Ahead of the fastest peer in {ahead} of {len(cells)} cells; median ratio {median(ratios):.2f}. The lowest:"
    ]
    for cell in sorted(cells, key=lambda cell: cell["ratio"])[:15]:
        lines.append(
            f"{cell['ratio']:6.2f}  {cell['description']} ({cell['microseconds']:.1f} µs a step; {cell['fastest']})"
        )
    return "\n".join(lines)


def in_words(ratio: dict[str, float]) -> str:
    """Return a median and its range as text."""
    interval = f"({ratio['min']:.2f} to {ratio['max']:.2f})"
    return f"{ratio['median']:>7.2f} {interval:<16}"


def left_out(result: dict[str, Any]) -> list[str]:
    """List the peers that are not in a table, and why."""
    return [f"{name:14} left out: {reason}" for name, reason in result["absent"].items()]


def threads_of(machine: dict[str, Any]) -> str:
    """Return the number of threads in words."""
    return "1 thread" if machine["threads"] == 1 else f"{machine['threads']} threads"
