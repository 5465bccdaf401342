"""A policy a second time: its JSON turned into one SQL query over a table of requests.

It shares nothing with policy/*.c but docs/POLICY.md.  Every value is text; "unknown" is not known.  PostgreSQL
decides, and gives rules, fields and terms in the columns of `homeward policy enumerate --csv`.
"""

VARIABLES = {"$requester": '"requester"', "$to": '"to"'}
LISTS = {"operation": "operation", "type": "type", "from": "requester", "to": "to", "purpose": "purpose", "caller": "caller"}
OBLIGING = {"purpose", "caller"}  # lists on what may be unknown


def text(value):
    return "'" + value.replace("'", "''") + "'"


def column(name):
    return '"' + name.replace('"', '""') + '"'


def one_of(name, values):
    return f"{column(name)} IN ({', '.join(values)})"


def condition(policy, rule, attribute, operator, value):
    values = value if operator == "in" else [value]
    written = [text(policy["home"]) if v == "$home" else VARIABLES.get(v) or text(v) for v in values]
    holds = one_of(attribute, written)
    if operator == "ne":
        holds = f"NOT {holds}"
    when_unknown = "TRUE" if rule["effect"] == "forbid" else "FALSE"
    return f"CASE WHEN {column(attribute)} = 'unknown' THEN {when_unknown} ELSE {holds} END"


def matches(policy, rule):
    parts = ["TRUE"]
    if "operation" not in rule and rule["effect"] == "permit":
        parts.append(one_of("operation", [text(word) for word in ("local", "ask", "serve")]))
    for key, name in LISTS.items():
        if key in rule:
            allowed = [text(v) for v in rule[key]]
            if key in OBLIGING and rule["effect"] == "forbid":
                allowed.append("'unknown'")
            parts.append(one_of(name, allowed))
    parts += [condition(policy, rule, *each) for each in rule.get("when", [])]
    return " AND ".join(f"({part})" for part in parts)


def texts(cases, separator):
    """The texts whose condition holds, in order."""
    listed = ", ".join(f"CASE WHEN {holds} THEN {text(word)} END" for word, holds in cases)
    return f"array_to_string(ARRAY[{listed}]::text[], {text(separator)})"


def may_leave(policy, rule, kind, field):
    return rule["fields"] == ["*"] or field in rule["fields"]


def fields_of(policy, permits):
    whens = []
    for kind, described in policy["types"].items():
        cases = []
        for field in described["fields"]:
            holding = [f"r{i}" for i, rule in permits if may_leave(policy, rule, kind, field)]
            cases.append((field, " OR ".join(holding) or "FALSE"))
        whens.append(f"WHEN {text(kind)} THEN {texts(cases, ',')}")
    return f"CASE type {' '.join(whens)} ELSE '' END"


def decisions_of(policy, table, expired=False):
    """SQL: the table's columns, then decision, rules, fields, ttl and onward."""
    rules = list(enumerate(policy["rules"]))
    forbids = [(i, rule) for i, rule in rules if rule["effect"] == "forbid"]
    permits = [(i, rule) for i, rule in rules if rule["effect"] == "permit"]
    home = text(policy["home"])
    fitting = (f"CASE operation WHEN 'local' THEN requester = {home} AND \"to\" = {home}"
               f" WHEN 'ask' THEN requester = {home} AND \"to\" <> {home} AND \"to\" <> 'unknown'"
               f" WHEN 'send' THEN requester = {home} AND \"to\" <> {home} AND \"to\" <> 'unknown'"
               f" WHEN 'receive' THEN \"to\" = {home} AND requester <> {home} AND requester <> 'unknown'"
               f" WHEN 'serve' THEN requester = \"to\" AND \"to\" <> {home} AND \"to\" <> 'unknown' ELSE FALSE END")
    personal = [text(kind) for kind, described in policy["types"].items() if described["personal"]] or ["''"]
    in_date = f"NOT ({one_of('type', personal)})" if expired else "TRUE"
    matched = ", ".join(f"({matches(policy, rule)}) AND ({fitting}) AND ({in_date}) AS r{i}" for i, rule in rules)
    any_forbid = " OR ".join(f"r{i}" for i, _ in forbids) or "FALSE"
    forbid_names = texts([(rule["id"], f"r{i}") for i, rule in forbids], " ")
    permit_names = texts([(rule["id"], f"r{i}") for i, rule in permits], " ")
    caps = [f"CASE WHEN r{i} THEN {rule['obligations']['cache_ttl_max_s']} END"
            for i, rule in permits if "cache_ttl_max_s" in rule.get("obligations", {})]
    cap = f"coalesce(least({', '.join(caps)}), -1)" if caps else "-1"
    not_onward = " OR ".join(f"r{i}" for i, rule in permits if rule.get("obligations", {}).get("onward") != "yes") or "FALSE"
    return f"""
        WITH matched AS MATERIALIZED (SELECT *, {matched} FROM {table}),
        judged AS MATERIALIZED (SELECT *, ({any_forbid}) AS forbidden, {fields_of(policy, permits)} AS may FROM matched),
        ended AS MATERIALIZED (SELECT *, NOT forbidden AND may <> '' AS permitted FROM judged)
        SELECT *, CASE WHEN permitted THEN 'permit' ELSE 'deny' END AS sql_decision,
            CASE WHEN forbidden THEN {forbid_names} WHEN permitted THEN {permit_names} ELSE '' END AS sql_rules,
            CASE WHEN permitted THEN may ELSE '' END AS sql_fields,
            CASE WHEN permitted THEN {cap} ELSE -1 END AS sql_ttl,
            CASE WHEN permitted AND NOT ({not_onward}) THEN 'yes' ELSE 'no' END AS sql_onward
        FROM ended"""
