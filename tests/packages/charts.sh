# What containers and configuration management need: parsed and checked as far as this machine can. Sourced by run.sh.
# shellcheck shell=bash

collector_program=$scratch/charts/usr/bin/beffroi-collector
unpack_collector() {
    mkdir -p "$scratch/charts"
    dpkg-deb --extract "$packages"/deb/beffroi-collector_*.deb "$scratch/charts"
}

compose_is_valid_yaml_and_hardened() {
    python3 - "$root/packaging/compose/compose.yaml" <<'PYTHON'
import sys, yaml
compose = yaml.safe_load(open(sys.argv[1]))
for name in ("gateway", "detect", "store", "api"):
    role = compose["services"][name]
    assert role["read_only"] and role["cap_drop"] == ["ALL"] and role["user"] == "10001:10001", name
    assert "no-new-privileges:true" in role["security_opt"], name
    for volume in role["volumes"]:
        source = volume.split(":")[0]
        assert source.startswith("./") or source in compose["volumes"], (name, source)
    for secret in role.get("secrets", []):
        assert secret in compose["secrets"], (name, secret)
    for network in role["networks"]:
        assert network in compose["networks"], (name, network)
assert compose["networks"]["inside"]["internal"] is True
for name in ("kafka", "clickhouse"):
    assert compose["services"][name]["networks"] == ["inside"] and "ports" not in compose["services"][name], name
PYTHON
}

# The collector itself reads the configurations of compose.yaml.
compose_configurations_can_be_used() {
    local file
    for file in "$root"/packaging/compose/config/*.toml; do "$collector_program" --config "$file" --check-config; done
}

# The templates through Helm itself: every document parses, and the collector reads every configuration in it.
the_chart_renders() {
    local chart=$root/packaging/helm/beffroi number=0 values
    helm lint --strict "$chart"
    for values in "$here"/charts/*.yaml; do
        number=$((number + 1))
        helm template soc "$chart" --kube-version 1.28.0 --namespace beffroi --values "$values" >"$scratch/chart-$number.yaml"
        python3 "$here/charts/rendered.py" "$scratch/chart-$number.yaml" "$collector_program"
    done
    if helm template soc "$chart" --kube-version 1.28.0 --set api.tlsSecret= >/dev/null 2>"$scratch/refusal"; then return 1; fi
    grep -q 'api.tlsSecret is empty' "$scratch/refusal"
}

# Without Helm: values and Chart.yaml parse, and every value that a template names exists.
the_chart_is_consistent() {
    python3 - "$root/packaging/helm/beffroi" <<'PYTHON'
import pathlib, re, sys, yaml
chart = pathlib.Path(sys.argv[1])
values = yaml.safe_load((chart / "values.yaml").read_text())
assert yaml.safe_load((chart / "Chart.yaml").read_text())["apiVersion"] == "v2"
for template in sorted((chart / "templates").iterdir()):
    text = template.read_text()
    assert text.count("{{") == text.count("}}"), f"{template.name}: an action is not closed"
    opened = len(re.findall(r"{{-? (?:if|range|with|define|block) ", text))
    closed = len(re.findall(r"{{-? end -?}}|{{ end }}", text))
    assert opened == closed, f"{template.name}: {opened} blocks opened, {closed} closed"
    for path in re.findall(r"(?:\$|\.root)?\.Values\.([A-Za-z.]+)", text) + re.findall(r"\$values\.([A-Za-z.]+)", text):
        place = values
        for key in path.split("."):
            assert isinstance(place, dict) and key in place, f"{template.name}: .Values.{path} is not in values.yaml"
            place = place[key]
PYTHON
}

the_role_is_valid() {
    (cd "$root/packaging/ansible" && ANSIBLE_ROLES_PATH=roles ansible-playbook --syntax-check -i localhost, agents.yml)
}

# The role's template, filled in, is a configuration that the agent accepts.
the_role_writes_a_configuration_that_the_agent_accepts() {
    dpkg-deb --extract "$packages"/deb/beffroi-agent_*.deb "$scratch/charts"
    cat >"$scratch/template.yml" <<TEXT
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.template:
        src: $root/packaging/ansible/roles/beffroi_agent/templates/agent.toml.j2
        dest: $scratch/agent.toml
      vars:
        beffroi_agent_config:
          uplink: {proxy: "http://proxy.example:3128", connect_timeout_seconds: 5}
          scan: {enabled: false, rules: ["/usr/share/beffroi/yara"]}
TEXT
    ANSIBLE_LOCALHOST_WARNING=false ansible-playbook -i localhost, "$scratch/template.yml"
    grep -q 'proxy = "http://proxy.example:3128"' "$scratch/agent.toml"
    # Exit 3: checks fail, because nothing is enrolled here; 1 would be the configuration.
    local code=0
    "$scratch/charts/usr/bin/beffroi-agent" --config "$scratch/agent.toml" --state "$scratch/nowhere" doctor || code=$?
    [ $code -eq 3 ]
}

check "the collector's package unpacks" unpack_collector
check "the compose file is valid and hardened" compose_is_valid_yaml_and_hardened
check "the compose file's configurations can be used" compose_configurations_can_be_used
check "the chart is consistent" the_chart_is_consistent
if command -v helm >/dev/null; then
    check "the chart renders, and the collector reads its configurations" the_chart_renders
else
    echo "skip  the chart through Helm: there is no helm on this machine"
fi
if command -v ansible-playbook >/dev/null; then
    check "the Ansible role is valid" the_role_is_valid
    check "the role writes a configuration that the agent accepts" the_role_writes_a_configuration_that_the_agent_accepts
else
    echo "skip  the Ansible role: there is no ansible-playbook on this machine (Debian: ansible-core)"
fi
