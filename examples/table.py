"""What does a flat cost? A table as it is: numbers, categories, dates, missing values; made up, to know the answer."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import nnfast as nf
from nnfast.tables import fit_table

sys.path.append(str(Path(__file__).with_name("book")))
from _picture import options, save

random, n = np.random.default_rng(0), 600 if options.small else 4000
table = {
    "size": np.where(random.random(n) < 0.05, np.nan, random.gamma(6, 14, n)),
    "town": random.choice(["Basel", "Bern", "Chur", "Zug"], n, p=[0.3, 0.3, 0.2, 0.2]),
    "built": np.datetime64("1950-01-01") + random.integers(0, 25_000, n),
    "floor": random.integers(0, 9, n),
    "country": np.full(n, "CH"),
}
per_area = 6 + 3 * (table["town"] == "Zug") - 2 * (table["town"] == "Chur")
age = (np.datetime64("2020-01-01") - table["built"]).astype(int) / 365
price = per_area * np.nan_to_num(table["size"], nan=85) * (1 - age / 200) + 5 * table["floor"]
price *= np.exp(random.normal(0, 0.1, n))  # what no column tells, in thousands of francs

test, train = np.arange(n) < n // 4, np.arange(n) >= n // 4
model = fit_table({k: v[train] for k, v in table.items()}, price[train], quantiles=[0.05, 0.5, 0.95], seed=0, verbose=0)
print(model.preparation)
low, middle, high = model.predict_quantiles({k: v[test] for k, v in table.items()}).T
inside = np.mean((price[test] >= low) & (price[test] <= high))
error = np.mean(abs(price[test] - middle) / price[test])
print(f"{inside:.1%} of {test.sum():,} other flats cost what the 90% interval says.")
print(f"The median is off by {error:.1%} on average; the noise alone is 8%.")
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
nf.plotting.plot_predictions(price[test], middle, ax=left)
nf.plotting.plot_importances(model.importances(), list(table), ax=right)
save(figure)
