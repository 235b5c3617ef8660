"""`abo-vqa send-runs`: send buffered runs to the MLflow server."""

from abo_vqa.commands.project_option import Project, enter_project

EXAMPLES = """
MLFLOW_TRACKING_URI=http://server:5000 abo-vqa send-runs
"""


def main(project: Project = None) -> None:
    """Send the runs buffered while MLflow was unreachable.

    Any later run that reaches the server sends them too.
    """
    enter_project(project)
    from abo_vqa.common.tracking.address import masked
    from abo_vqa.common.tracking.store import open_store, outbox_folder

    waiting = [path.parent.name for path in outbox_folder().glob("*/owner.json")]
    client, _ = open_store()
    left = [name for name in waiting if (outbox_folder() / name).is_dir()]
    sent, server = len(waiting) - len(left), masked(client.tracking_uri)
    print(f"{sent} runs sent to {server}; {len(left)} wait: {', '.join(left) or 'none'}")
