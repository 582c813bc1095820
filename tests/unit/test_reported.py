"""The thesis's own numbers: nobody changes one in passing."""

import hashlib
import json

import pytest
import yaml

from thesislib import files
from thesislib.records.reported import printed, reported_cells, reported_tables

TABLES = yaml.safe_load((files.project_root() / "results/reported.yaml").read_text("utf-8"))
# Hashes of the rows of each table. Whoever mends a value compares it with the printed one and
# renews the hash in the same change.
DIGESTS = {
    "8.1": "2192ee54ba79adc2",
    "8.2": "c30da8d0d9f172bd",
    "8.3": "9f6e7dbdd4c84ae2",
    "8.4": "e5978a9e88e01d1e",
    "8.5": "3b5fa2f2e8758a0e",
    "5.3": "374b8e785efd288f",
    "5.4": "df24bd63edd293ab",
    "5.5": "c3bdf8ddabcc8a71",
    "5.6": "b8d3b20e243b3bfb",
    "5.7": "4751e485861348ae",
    "5.8": "d50fe6fdf4a2e1e6",
    "5.9": "0aa5875bf600e22b",
    "7.1": "4e20830cd8bbe928",
    "7.2": "bec6561590509494",
    "7.3": "3267ffc6bcd8038d",
    "7.4": "fde34d41f09ca06c",
    "6.1": "674dedccda75c6e0",
    "6.2": "1802d0c4cfab132f",
    "6.3": "757990476a8eae00",
    "Figure 6.2, scratch, NDC-ME": "c6a099c6a75eb9c5",
    "Figure 6.2, fine-tuned, NDC-ME": "796942fbf335cf75",
    "Figure 6.2, scratch, IFADV": "ffb1f71cc1dff4b0",
    "Figure 6.2, fine-tuned, IFADV": "1486ae981129e1e6",
    "Figure 6.4, scratch, NDC-ME": "c03ea7fab9c39273",
    "Figure 6.4, fine-tuned, NDC-ME": "4d4013a5aff7b0db",
    "Figure 6.4, scratch, IFADV": "6eb45283aa4a3665",
    "Figure 6.4, fine-tuned, IFADV": "708f2a31fe8afe7f",
}


def digest(table):
    rows = json.dumps(table["rows"], sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(rows.encode()).hexdigest()[:16]


def test_every_table_of_reported_values_is_under_guard():
    assert {str(name) for name in TABLES} == set(DIGESTS)


@pytest.mark.parametrize("name", list(TABLES), ids=str)
def test_reported_values_are_those_that_were_compared_with_the_thesis(name):
    assert digest(TABLES[name]) == DIGESTS.get(str(name))


def test_printed_digits_are_those_of_the_file_and_of_its_values():
    text = (files.project_root() / "results/reported.yaml").read_text("utf-8")
    seen = set()
    for table in reported_tables():
        for row, column, value in reported_cells(table):
            digits = printed(table, row, column)
            assert float(digits) == value
            assert f"{column}: {digits}" in text
            seen.add(digits)
    assert {"0.590", "48.0", "0.5", "1", "0.1125"} <= seen
