"""Judges a rendered chart: kinds, security context, references between documents, configurations read by the collector.

    rendered.py RENDERED.yaml COLLECTOR
"""
import collections, pathlib, subprocess, sys, tempfile

import yaml


class NoDuplicates(yaml.SafeLoader):
    """A mapping that names a key twice is a mistake that YAML would hide."""


def mapping(loader, node):
    keys = [loader.construct_object(key) for key, _ in node.value]
    twice = [key for key, count in collections.Counter(keys).items() if count > 1]
    assert not twice, f"{twice} twice, line {node.start_mark.line + 1}"
    return {loader.construct_object(k, deep=True): loader.construct_object(v, deep=True) for k, v in node.value}


NoDuplicates.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)


def main(rendered, collector):
    documents = [d for d in yaml.load_all(pathlib.Path(rendered).read_text(), NoDuplicates) if d]
    kinds = collections.Counter(d["kind"] for d in documents)
    assert kinds["Deployment"] == kinds["NetworkPolicy"] == kinds["ConfigMap"] == 4, kinds
    assert kinds["Service"] == 2 and kinds["PersistentVolumeClaim"] == 1 and kinds["PodDisruptionBudget"] >= 1, kinds
    by_name = {(d["kind"], d["metadata"]["name"]): d for d in documents}
    for document in documents:
        assert document["metadata"]["namespace"] == "beffroi", document["metadata"]["name"]
        if document["kind"] == "Deployment":
            deployment(document, by_name)
        if document["kind"] == "ConfigMap":
            configuration(document, collector)
    print(dict(kinds))


def deployment(document, by_name):
    name, spec = document["metadata"]["name"], document["spec"]["template"]["spec"]
    labels = document["spec"]["template"]["metadata"]["labels"]
    assert document["spec"]["selector"]["matchLabels"].items() <= labels.items(), name
    assert spec["securityContext"]["runAsNonRoot"] and spec["automountServiceAccountToken"] is False, name
    [container] = spec["containers"]
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"], name
    assert context["capabilities"] == {"drop": ["ALL"]} and "memory" in container["resources"]["limits"], name
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == set(volumes), (name, mounts ^ set(volumes))
    assert ("ConfigMap", volumes["config"]["configMap"]["name"]) in by_name, name
    if "persistentVolumeClaim" in volumes["data"]:
        assert ("PersistentVolumeClaim", volumes["data"]["persistentVolumeClaim"]["claimName"]) in by_name, name
    for (kind, _), other in by_name.items():
        if kind == "Service" and other["spec"]["selector"].items() <= labels.items():
            ports = {port["name"] for port in container["ports"]}
            assert other["spec"]["ports"][0]["targetPort"] in ports, name
    policy = by_name["NetworkPolicy", name]["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items(), name
    assert policy["policyTypes"] == ["Ingress", "Egress"] and len(policy["egress"]) >= 2, name


def configuration(document, collector):
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(document["data"]["collector.toml"])
        file.flush()
        checked = subprocess.run([collector, "--config", file.name, "--check-config"], capture_output=True, text=True)
        assert checked.returncode == 0, f"{document['metadata']['name']}: {checked.stderr}\n{document['data']['collector.toml']}"


main(*sys.argv[1:])
