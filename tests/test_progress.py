from jaxnum._progress import pace, track


def test_the_rate_counts_what_this_process_did_and_not_the_compilation():
    times = iter([0.0, 10.0, 12.0, 14.0])
    rate = pace(lambda: next(times))
    assert rate(100) == ""  # 100 were there before
    assert rate(110) == "1/s"  # 10 in 10 seconds, compilation included
    assert rate(120) == "5/s"  # from here on without it
    assert rate(130) == "5/s"
    assert rate(130) == "5/s"  # nothing new


def test_a_log_gets_a_line_for_every_tenth(capsys):
    with track(True, 1000, "members") as show:
        for done in range(1001):
            show(done)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[0] == "members: 0 of 1000"
    assert lines[10].startswith("members: 1000 of 1000, ")
    assert lines[10].endswith("/s")


def test_a_terminal_gets_a_bar_that_is_taken_away_again(capsys, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with track(True, 10, "members") as show:
        show(0)
        show(5)
    assert "5/10" in capsys.readouterr().err
