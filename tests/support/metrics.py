"""Read metrics in the text format of Prometheus."""

from prometheus_client.parser import text_string_to_metric_families


def series(text):
    """Return the value of every series except buckets, by its name and label values."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "le" not in sample.labels
    }
