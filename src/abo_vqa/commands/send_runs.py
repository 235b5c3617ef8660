"""Send what earlier runs could not, as every later run does too: `PYTHONPATH=src python -m abo_vqa.common.tracking`."""

from abo_vqa.common.errors import readable_errors
from abo_vqa.common.tracking.store import open_store, outbox_folder


def main() -> None:
    """Open the store, which sends what is kept, and say what is still waiting."""
    waiting = [path.parent.name for path in outbox_folder().glob("*/owner.json")]
    with readable_errors("tracking"):
        client, _ = open_store()
    left = [name for name in waiting if (outbox_folder() / name).is_dir()]
    print(
        f"{len(waiting) - len(left)} runs sent to {client.tracking_uri}; {len(left)} wait: {', '.join(left) or 'none'}"
    )


if __name__ == "__main__":
    main()
