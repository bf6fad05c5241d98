from understudy.errors import did_you_mean


def test_suggestions() -> None:
    assert did_you_mean("adam", ["adamw", "sgd"]) == "did you mean 'adamw'?"
    assert did_you_mean("x", ["b", "a"]) == "choose from a, b"
    assert did_you_mean("x", []) == "there is none to choose from"


def test_of_many_options_the_first_are_named() -> None:
    options = [f"option{number:02}" for number in range(21)]
    assert did_you_mean("x", options[:20]).endswith("option18, option19")
    assert did_you_mean("x", options).startswith("choose from option00, option01")
    assert did_you_mean("x", options).endswith("option07, ... (13 more)")
