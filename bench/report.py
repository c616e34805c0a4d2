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
        own = next(iter(race["peers"].values()))
        shares = (100 * gflops / best for gflops in (own["gflops"], race["flops"] / own["microseconds"]["min"] / 1e3))
        told = "{:.0f} %, in the fastest round {:.0f} %".format(*shares)
        lines.append(f"{race['workload']:14}{told} ({race['flops'] / 1e6:.4g} MFLOP a step)")
    return "\n".join(lines)


def inference_lines(result: dict[str, Any]) -> str:
    """Return the table of inference with one network."""
    title = f"{result['rows']:,} samples"
    lines = [
        "nnfast: predict_one(row) and predict(x), the plain calls; nnfast, out=: the same with out=",
        f"{'':14}{'one sample / nnfast':^24}{'µs':>10}    {title + ' / nnfast':^24}{'µs':>10}",
    ]
    for name, peer in result["peers"].items():
        one, many = peer["one"], peer["many"]
        lines.append(
            f"{name:14}{in_words(one['ratio'])}{one['microseconds']['median']:>10.2f}    "
            f"{in_words(many['ratio'])}{many['microseconds']['median']:>10.0f}"
        )
    lines += left_out(result)
    lines += [f"NOT THE SAME NETWORK: {name}" for name in result["disagreements"]]
    return "\n".join(lines)


def calls_lines(result: dict[str, Any]) -> str:
    """Return the tables of small calls."""
    lines = [
        "Time of predict_one / time of ONNX Runtime:" if not result["absent"] else "predict_one:",
        f"{'':21}{'plain':^24}{'µs':>7}    {'with out=':^24}{'µs':>7}{'ONNX Runtime, µs':>20}",
    ]
    for found in result["rows"]:
        times = {name: f"{time['median']:.2f}" for name, time in found["microseconds"].items()}
        ratio = {name: in_words(found["ratio"][name]) if found["ratio"] else f"{'':24}" for name in ("plain", "out")}
        lines.append(
            f"{found['network']:21}{ratio['plain']}{times['plain']:>7}    {ratio['out']}{times['out']:>7}"
            f"{times.get('ONNX Runtime', ''):>20}"
        )
        lines += [f"NOT THE SAME NETWORK: {name}" for name in found["disagreements"]]
    return "\n".join([*lines, *left_out(result), *(batch_lines(batch) for batch in result["batches"])])


def batch_lines(batch: dict[str, Any]) -> str:
    """Return the table of calls with one mini-batch."""
    lines = [
        f"\n{batch['description']}:",
        f"{'':28}{'time / step of fit':^24}{'µs':>8}",
        f"{'a step of fit':52}{batch['fit_step']['median']:>8.2f}",
    ]
    for name, ratio in batch["ratio"].items():
        lines.append(f"{name:28}{in_words(ratio)}{batch['microseconds'][name]['median']:>8.2f}")
    call = in_words(batch["fit_call"]).strip()
    return "\n".join([*lines, f"a call of fit takes this many µs longer than its steps: {call}"])


def threads_lines(results: list[dict[str, Any]], *, busy: bool) -> str:
    """Return the tables of speedups of `fit` with more threads, and of the numbers of threads that it chose."""
    choices = [name for name in results[0]["speedup"] if name != "1"]
    heads = [name if "fixed" in name else f"up to {name}" for name in choices]
    beside = ", beside a process that keeps one core busy" if busy else ""
    compared = f"{results[0]['most']} by best choice"
    lines = [
        f"Threads, not pinned{beside}: how many times as fast as on one thread",
        f"{'':10}{'µs on 1':>8}{''.join(f'{head:^24}' for head in [*heads, compared])}",
    ]
    for result in results:
        row = "".join(in_words(result["speedup"][name]) for name in choices)
        row += f"{in_words(result['allowed'])}({result['best']})"
        wrong = "" if result["same_bits"] else "  NOT THE SAME BITS"
        lines.append(f"{result['workload']:10}{result['microseconds']:>8.1f}{row}{wrong}")
    lines += ["Share of the steps on each number of threads:", f"{'':18}{''.join(f'{head:^32}' for head in heads)}"]
    for result in results:
        row = "".join(f"{chosen_threads(result['chosen'][name]):^32}" for name in choices)
        lines.append(f"{result['workload']:18}{row}".rstrip())
    return "\n".join(lines)


def chosen_threads(shares: dict[str, float]) -> str:
    """Return the shares of the steps on each number of threads as text, without those that round to nothing."""
    return ", ".join(f"{threads}: {100 * share:.0f} %" for threads, share in shares.items() if share >= 0.005)


def traffic_lines(results: list[dict[str, Any]]) -> str:
    """Return the table of the bytes that cross between cores."""
    threads = list(results[0]["kilobytes"]["as it is"])
    columns = "".join(f"{name + ' threads':>24}" for name in threads)
    title = "Kilobytes that each thread reads from others in a step (without chunks of rows):"
    lines = [title, f"{'':10}{columns}  chunks of each layer"]
    for found in results:
        own, without = found["kilobytes"]["as it is"], found["kilobytes"]["without chunks"]
        figures = "".join(f"{own[name]:>14.1f}{f'({without[name]:.1f})':>10}" for name in threads)
        lines.append(f"{found['workload']:10}{figures}  {', '.join(map(str, found['chunks']))}")
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


def loop_lines(result: dict[str, Any]) -> str:
    """Return the tables of the training loop."""
    lines = [f"{'Ratios of times':76}{'median (range)':^24}"]
    lines += [f"{own['name']:76}{in_words(own['ratio'])}" for own in result["figures"]]
    lines += ["", "Memory"]
    for own in result["memory"]:
        speed = f"; speed by that in memory {in_words(own['speed']).strip()}" if "speed" in own else ""
        lines.append(f"{own['name']}: {own['megabytes']:.1f} MB{speed}")
    dqn = result["dqn"]
    lines += ["", f"An update of a deep Q-network, {dqn['network']}", f"{'':20}{'time / ' + dqn['base']:^24}{'µs':>10}"]
    for name, ratio in dqn["ratio"].items():
        lines.append(f"{name:20}{in_words(ratio)}{dqn['microseconds'][name]['median']:>10.1f}")
    lines += left_out(dqn)
    lines += [f"NOT THE SAME NETWORK: {name}" for name in dqn["disagreements"]]
    return "\n".join(lines)


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


def estimators_lines(result: dict[str, Any]) -> str:
    """Return the table of nnfast's scikit-learn estimators beside scikit-learn's."""
    width = 2 + max(len(row["name"]) for row in result["rows"])
    lines = [
        f"Estimators of scikit-learn {result['version']} and of nnfast, float64 unless float32 is named; "
        f"{result['rounds']} rounds",
        f"{'':{width}}{'scikit-learn / nnfast':^24}{'bar':>5}{'nnfast / Sequential':^24}{'scikit-learn':>14}"
        f"{'nnfast':>10}   their scores",
    ]
    for row in result["rows"]:
        bar, times = row["bar"], row["seconds"]
        cost = in_words(row["cost"]) if row["cost"] else f"{'':24}"
        scores = "".join(f"{score:>9.4f}" for score in row.get("scores", {}).values())
        line = (
            f"{row['name']:{width}}{in_words(row['ratio'])}{bar or '':>5}{cost}"
            f"{duration(times['scikit-learn']['median']):>14}{duration(times['nnfast']['median']):>10} {scores}"
        )
        lines.append((line + "  below the bar" if bar and row["ratio"]["median"] < bar else line).rstrip())
    return "\n".join([*lines, *(f"NOT THE SAME: {what}" for what in result["disagreements"])])


def duration(seconds: float) -> str:
    """Return a time in a unit that suits it."""
    unit, factor = next(((unit, f) for unit, f in (("s", 1), ("ms", 1e3)) if seconds * f >= 1), ("µs", 1e6))
    return f"{seconds * factor:.3g} {unit}"


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
    """List the cells with the lowest ratios to the fastest peer."""
    widths = sorted({cell["width"] for cell in cells})
    lowest = (f"{width}: {min(cell['ratio'] for cell in cells if cell['width'] == width):.2f}" for width in widths)
    listed = lowest_lines("Ahead of the fastest peer", cells, 1, "fastest")
    return f"{listed}\nThe lowest ratio at each width: {', '.join(lowest)}"


def shapes_lines(cells: list[dict[str, Any]], bar: float) -> str:
    """List the cells with the lowest ratios of two threads to one."""
    told = [cell | {"threads": chosen_threads(cell["chosen"])} for cell in cells]
    return lowest_lines(f"Two threads allowed, not pinned: at least {bar} times as fast as one", told, bar, "threads")


def lowest_lines(claim: str, cells: list[dict[str, Any]], bar: float, also: str) -> str:
    """Return in how many cells a claim holds, the median, and the cells with the lowest ratios."""
    ahead = sum(cell["ratio"] >= bar for cell in cells)
    middle = median(cell["ratio"] for cell in cells)
    lines = [f"{claim} in {ahead} of {len(cells)} cells; median ratio {middle:.2f}. The lowest:"]
    for cell in sorted(cells, key=lambda cell: cell["ratio"])[:15]:
        lines.append(
            f"{cell['ratio']:6.2f}  {cell['description']} ({cell['microseconds']:.1f} µs a step; {cell[also]})"
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
