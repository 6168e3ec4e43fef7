"""What was done to photos, as one page of HTML that needs nothing but itself.

    facts.py     two photos -> what changed between them, and the parts worth looking at
    pictures.py  a part of a photo -> a picture in the page
    rows.py      what is said about one photo, and about all together
    page.py      all of that -> HTML
    look.py      how the page looks, and the few lines that move its sliders
    writer.py    rows as they come -> the page, when all have come
    run.py       the events of a run -> rows

The page loads nothing from anywhere, also where a file's name tries to make it: names are escaped,
and the page's own policy forbids all scripts but its own.
"""

from denoisetool.report.facts import Facts, compare
from denoisetool.report.rows import Row
from denoisetool.report.run import RunReport
from denoisetool.report.writer import MOST_PICTURES, Report, check_place

__all__ = ["MOST_PICTURES", "Facts", "Report", "Row", "RunReport", "check_place", "compare"]
