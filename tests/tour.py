"""Take the screenshots of the tour again: follow tour.md in Chromium, on a running `make up`, and write docs/images/tour.

    python -m tests.tour <address of Airflow> <password> <address of MLflow> [<picture> ...]

Needs the packages of tests/requirements.txt, Chromium, and a challenger that waits for an answer (part 5). Compare each picture with the sentence before it.
"""

import io
import os
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from deploy.embedded.client import Client
from deploy.embedded.settings import USERNAME

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images" / "tour"
NIGHTLY, NIGHT, NEXT = "nightly_batch_scoring", "2013-04-04", "2013-04-05"


class Tour:
    """The pages of the tour, one method for each picture, of the Airflow that `client` speaks to."""

    def __init__(self, page: Page, client: Client, mlflow_url: str) -> None:
        self.page, self.client, self.url, self.mlflow_url = page, client, client.url, mlflow_url

    def open(self, path: str, *, until: str, height: int = 800) -> None:
        """Open `path`, and wait for the text `until`."""
        self.page.set_viewport_size({"width": 1280, "height": height})
        self.page.mouse.move(0, 0)  # what is under the pointer shows a hint
        self.page.goto(f"{self.url}{path}")
        self.page.get_by_text(until).first.wait_for()

    def latest_run(self) -> str:
        """Return the id of the latest run of the night."""
        runs = self.client.call("GET", f"/dags/{NIGHTLY}/dagRuns?limit=100&order_by=-run_after")["dag_runs"]
        return str(next(run["dag_run_id"] for run in runs if run["partition_key"] == NIGHT))

    def dags(self) -> None:
        self.open("/dags?tags=flights", until="1.1 Nightly batch scoring")

    def grid(self) -> None:
        self.open(f"/dags/{NIGHTLY}", until="publish_scores")

    def run(self, height: int = 800) -> None:
        self.open(f"/dags/{NIGHTLY}/runs/{self.latest_run()}", until="11 Task Instances", height=height)

    def note(self) -> None:
        self.run(height=400)
        self.page.mouse.click(1240, 193)  # the pencil next to the note, which has no name
        self.page.get_by_text("Dag Run Note").first.wait_for()

    def task(self) -> None:
        self.open(f"/dags/{NIGHTLY}/runs/{self.latest_run()}/tasks/validate_scores/details", until="Extra Links")

    def report(self) -> None:
        self.task()
        path = self.page.get_by_role("link", name="Report", exact=True).get_attribute("href")
        self.open(str(path), until="validate_scores passed")
        self.page.locator("summary").first.click()

    def drift(self) -> None:
        self.report()
        self.page.get_by_role("link", name=f"Drift of {NIGHT}").click()
        self.page.get_by_text("not judged").first.wait_for()

    def runs(self) -> None:
        self.open("/nightshift/?use_case=flights", until="The latest runs")

    def trigger(self) -> None:
        self.open(f"/dags/{NIGHTLY}", until="publish_scores")
        self.page.get_by_test_id("trigger-dag-button").click()
        self.page.locator("input[type=date]").first.fill(NEXT)

    def approve(self) -> None:
        asked = self.client.call("GET", "/dags/~/dagRuns/~/hitlDetails?response_received=false")["hitl_details"]
        task = asked[0]["task_instance"]
        path = f"/dags/{task['dag_id']}/runs/{task['dag_run_id']}/tasks/approve/required_actions"
        self.open(path, until="May the challenger", height=900)

    def mlflow(self) -> None:
        self.page.set_viewport_size({"width": 1280, "height": 1000})
        self.page.goto(f"{self.mlflow_url}/#/models/Core_RF_Classifier")
        self.page.get_by_text("challenger").first.wait_for()
        self.page.get_by_role("button", name="Close").click()  # MLflow's assistant
        self.page.get_by_text("Model training").first.click()


def save(page: Page, name: str) -> None:
    """Write what `page` shows, in 256 colours: a fifth of the bytes, and no eye sees a difference."""
    page.wait_for_timeout(4_000)  # charts and dialogs move until then
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        picture.convert("RGB").quantize(256).save(IMAGES / f"{name}.png", optimize=True)


def main(url: str, password: str, mlflow_url: str, *names: str) -> None:
    """Take the pictures `names`, or all of them."""
    with sync_playwright() as driver:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses its sandbox to root
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.goto(f"{url}/auth/login/")
        page.get_by_role("textbox", name="Username").fill(USERNAME)
        page.locator("input[type=password]").fill(password)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_text("Dags").first.wait_for()
        tour = Tour(page, Client(url, USERNAME, password), mlflow_url)
        steps = (
            tour.dags,
            tour.grid,
            tour.run,
            tour.note,
            tour.task,
            tour.report,
            tour.drift,
            tour.runs,
            tour.trigger,
            tour.approve,
            tour.mlflow,
        )
        for step in steps:
            if not names or step.__name__ in names:
                step()
                save(page, step.__name__)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
