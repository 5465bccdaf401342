# SPDX-License-Identifier: Apache-2.0
"""Reads the golden events as typed objects and writes them again."""
import json
import re
import sys
from typing import Any

import events


def main() -> None:
    for line in sys.stdin:
        case = json.loads(line)
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", case["title"]).lower()
        typed: Any = getattr(events, f"{name}_from_dict")(case["data"])
        print(json.dumps({"title": case["title"], "data": getattr(events, f"{name}_to_dict")(typed)}))


main()
