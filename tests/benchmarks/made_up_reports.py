"""Reports that nobody measured, with values that tests know."""


def report(values, more=None, sets=None, distances=None):
    """A report whose answers have these thickness errors."""
    eyes = {
        name: [
            {"key": f"eye {i}", "thickness/error_um": value} | (more or {}).get(name, {})
            for i, value in enumerate(each)
        ]
        for name, each in values.items()
    }
    return {"eyes": eyes, "sets": sets or {}, "distances": distances or {}}


def patients(n_eyes, n_each=1):
    return {f"eye {i}": f"patient {i // n_each}" for i in range(n_eyes)}
