from textkit.clean import normalise


def test_spaces_and_case_do_not_matter():
    assert normalise("  Hello\n  WORLD ") == "hello world"
