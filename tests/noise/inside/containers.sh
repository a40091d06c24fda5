#!/usr/bin/env bash
# Containers of a developer: an image is built from files, run, looked at and removed.
. "$(dirname "$0")/common.sh"

install podman crun runc busybox-static buildah
mkdir -p /etc/containers && printf '[storage]\ndriver = "vfs"\nrunroot = "/run/containers"\ngraphroot = "/var/lib/containers"\n' >/etc/containers/storage.conf
# The machine's kernel settings are read-only.
printf '[containers]\ndefault_sysctls = []\n' >/etc/containers/containers.conf
mkdir -p /root/image/bin && cp /bin/busybox /root/image/bin/ && cd /root/image || exit 1
for tool in sh ls cat echo sleep id wget; do ln -sf busybox "bin/$tool"; done
did "import an image" bash -c 'tar c . | podman import - small'
did "run a container" podman run --rm --network none --cgroups disabled small /bin/sh -c 'id; ls /; echo done'
did "run one with a folder" podman run --rm --network none --cgroups disabled -v /srv:/data small /bin/ls /data
printf 'FROM localhost/small\nRUN echo built > /built\nCMD ["/bin/cat","/built"]\n' >/root/Containerfile
did "build an image" podman build --network host --isolation chroot -t app -f /root/Containerfile /root/image
did "build one by hand" bash -c 'container=$(buildah from small) && buildah run --isolation chroot "$container" /bin/sh -c "echo x > /y" && buildah commit "$container" byhand && buildah rm "$container"'
did "run one without podman" bash -c 'mkdir -p /root/bundle && cd /root/bundle && cp -a /root/image rootfs && runc spec && sed -i "s/\"terminal\": true/\"terminal\": false/; s/\"sh\"/\"id\"/" config.json && runc run one && rm -rf /root/bundle'
did "list" bash -c 'podman ps -a; podman images; podman info >/dev/null'
did "remove" bash -c 'podman rmi -af; podman system prune -af'
