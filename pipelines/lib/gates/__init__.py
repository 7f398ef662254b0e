"""Gates: what is expected of data (`suite`), the verdict on it (`judgement`), and the report that a person and the next stage read
(`report`).
"""

from pipelines.lib.gates.judgement import judge as judge
from pipelines.lib.gates.report import FAILED as FAILED
from pipelines.lib.gates.report import NOT_JUDGED as NOT_JUDGED
from pipelines.lib.gates.report import PASSED as PASSED
from pipelines.lib.gates.report import WARNING as WARNING
from pipelines.lib.gates.report import Finding as Finding
from pipelines.lib.gates.report import Report as Report
from pipelines.lib.gates.report import deliver as deliver
from pipelines.lib.gates.report import not_judged as not_judged
from pipelines.lib.gates.suite import Expectation as Expectation
from pipelines.lib.gates.suite import Gate as Gate
from pipelines.lib.gates.suite import expect as expect
