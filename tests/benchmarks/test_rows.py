"""Which rows a plan asks for."""

import leaderboard
import pytest
from checks import check_rows
from plan import Plan

from fund2oct.evaluation.answers.answer import SHUFFLED
from fund2oct.models import SurfaceModel


def test_a_row_may_be_what_a_model_answers_to_what_is_told_of_others():
    rows = {
        "told of others": ", median surfaces, shuffled metadata",
        "not told": ", median surfaces, no metadata",
    }
    told, plain = (SurfaceModel((6, 32, 48), encoder="own", conditions=each) for each in (["age_years"], []))
    check_rows("told", rows, told)
    with pytest.raises(ValueError, match=r"plain: rows: expected .*, found .*shuffled metadata"):
        check_rows("plain", rows, plain)


def test_rows_are_asked_with_photos_of_others_where_the_plan_says_so(plan):
    surfaces = "surfaces {seed}, median surfaces"
    assert surfaces + SHUFFLED in leaderboard.answers_to_judge(Plan.read(plan))
    alone = leaderboard.answers_to_judge(Plan.read(plan, ["shuffled_photos=false"]))
    assert surfaces in alone and not any(SHUFFLED in answer for answer in alone)
