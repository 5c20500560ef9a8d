#!/bin/sh
# Runs inside the new root file system, once, after all packages are installed and rootfs/ has been
# copied in. What needs no commands is a file in rootfs/.
set -eu

# --- accounts: all locked; only keys from a seed let anybody in ------------------------------
useradd --create-home --shell /bin/bash --comment 'Atoll controller' atoll
# '*' matches no password, whereas '!' also makes sshd refuse keys.
sed -i 's/^\([^:]*\):[^:]*:/\1:*:/' /etc/shadow
chmod 440 /etc/sudoers.d/*
# sudo runs the agent: authenticated by key already, so no PAM session modules are needed
printf 'session required pam_permit.so\nauth required pam_permit.so\naccount required pam_permit.so\n' \
    >/etc/pam.d/sudo

# --- nothing unique may be in an image -------------------------------------------------------
rm -f /etc/ssh/ssh_host_* /var/lib/systemd/random-seed /var/lib/dbus/machine-id
: >/etc/machine-id
echo atoll >/etc/hostname
chmod 644 /etc/hostname /etc/resolv.conf
printf '127.0.0.1 localhost\n::1 localhost\n' >/etc/hosts
# exportfs looks up every client's name: with an unreachable name server it hangs for minutes
: >/etc/resolv.conf
sed -i -e 's/^hosts:.*/hosts: files/' -e 's/^netgroup:.*/netgroup: files/' -e 's/ db files/ files/' \
    /etc/nsswitch.conf
: >/etc/fstab
mkdir -p /shares /etc/exports.d /var/lib/nfs-state

# --- what runs ------------------------------------------------------------------------------
cd /etc/systemd/system
ln -sf /lib/systemd/system/multi-user.target default.target
systemctl --quiet enable ssh.service atoll-init.service atoll-shares.target atoll-routes.path \
    systemd-networkd.service nfs-server.service rpcbind.socket atoll-watchdog.service \
    atoll-nfsd.service atoll-tickle.service
# Samba costs seconds of a slow host's CPU: the guest agent enables it with the first CIFS share.
systemctl --quiet disable smbd.service nmbd.service samba-ad-dc.service
systemctl --quiet disable systemd-networkd-wait-online.service ssh.socket systemd-pstore.service \
    e2scrub_all.timer e2scrub_reap.service fstrim.timer dpkg-db-backup.timer \
    remote-fs.target nfs-client.target nfs-blkmap.service getty@tty1.service \
    rpcbind.service 2>/dev/null || true

# Units that do nothing for a service instance, but cost at each boot.
# shellcheck disable=SC2086
mask() { for unit; do ln -sf /dev/null "/etc/systemd/system/$unit"; done; }
# No user logs in on a console, and no sessions need to be tracked.
mask getty.target systemd-logind.service systemd-user-sessions.service systemd-update-utmp.service \
    systemd-update-utmp-runlevel.service systemd-ask-password-wall.path \
    systemd-ask-password-console.path user@.service
# the image is complete: users, catalogue, hardware database, linker cache, ids
mask systemd-sysusers.service systemd-update-done.service systemd-hwdb-update.service \
    systemd-journal-catalog-update.service ldconfig.service systemd-firstboot.service \
    systemd-machine-id-commit.service systemd-repart.service systemd-remount-fs.service
# the initrd has loaded every driver; the kernel command line configures no network
mask systemd-modules-load.service systemd-network-generator.service \
    systemd-tmpfiles-setup-dev.service systemd-tmpfiles-setup-dev-early.service
# No state is kept across boots.
mask systemd-journal-flush.service systemd-random-seed.service systemd-pstore.service
# kernel facilities that nothing here uses
mask dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
    sys-kernel-config.mount sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount \
    kmod-static-nodes.service modprobe@configfs.service modprobe@drm.service \
    modprobe@efi_pstore.service modprobe@fuse.service modprobe@dm_mod.service \
    modprobe@loop.service systemd-binfmt.service systemd-quotacheck.service quotaon.service \
    cryptsetup.target veritysetup.target integritysetup.target \
    systemd-pcrphase.service systemd-pcrphase-sysinit.service
# Periodic maintenance, which instances do not need.
mask systemd-tmpfiles-clean.timer apt-daily.timer apt-daily-upgrade.timer motd-news.timer \
    e2scrub_all.timer fstrim.timer
# Kerberos and pNFS block layouts
mask rpc-gssd.service rpc-svcgssd.service auth-rpcgss-module.service nfs-blkmap.service
# NetBIOS and domain controller
mask nmbd.service samba-ad-dc.service

# Generators: those that could find nothing. nfs-server's makes nfsd depend on every share's mount,
# so that one missing volume would make all shares unavailable.
mkdir -p /etc/systemd/system-generators
for generator in nfs-server-generator rpc-pipefs-generator systemd-cryptsetup-generator \
    systemd-getty-generator systemd-gpt-auto-generator systemd-hibernate-resume-generator \
    systemd-integritysetup-generator systemd-rc-local-generator systemd-run-generator \
    systemd-system-update-generator systemd-sysv-generator systemd-veritysetup-generator \
    systemd-bless-boot-generator systemd-tpm2-generator systemd-ssh-generator; do
    ln -sf /dev/null "/etc/systemd/system-generators/$generator"
done

# Volatile files and directories that are for consoles, sessions, crash dumps or an empty /var
mkdir -p /etc/tmpfiles.d
for name in home journal-nocow legacy passwd provision static-nodes-permissions systemd-nologin \
    systemd-pstore systemd-tmp tmp var x11 credstore; do
    ln -sf /dev/null "/etc/tmpfiles.d/$name.conf"
done

# Device events: only disks and network interfaces are of interest.
mkdir -p systemd-udev-trigger.service.d /etc/udev/rules.d
cat >systemd-udev-trigger.service.d/atoll.conf <<'UNIT'
# The drivers are loaded by the initrd; a coldplug of everything would load a hundred modules.
[Service]
ExecStart=
ExecStart=-/bin/udevadm trigger --type=devices --action=add --subsystem-match=net --subsystem-match=block
UNIT

# --- smaller -------------------------------------------------------------------------------
# Atoll makes its own initrd (see boot/init).
dpkg --purge --force-depends initramfs-tools initramfs-tools-core klibc-utils libklibc \
    linux-base-initramfs >/dev/null 2>&1 || true
rm -rf /usr/lib/udev/hwdb.bin /usr/lib/udev/hwdb.d /usr/share/i18n /usr/share/zoneinfo \
    /usr/share/perl/*/unicore /usr/share/perl/*/pod /usr/share/initramfs-tools \
    /var/cache/debconf/*-old /var/log/journal /var/log/*.log /var/log/apt /var/lib/dpkg/*-old \
    /usr/lib/python3*/test /usr/lib/python3*/idlelib /usr/lib/python3*/lib2to3 \
    /usr/lib/python3*/ensurepip /usr/lib/python3*/pydoc_data /usr/lib/python3*/turtledemo \
    /usr/lib/x86_64-linux-gnu/gconv
kernel=$(ls /lib/modules)
(
    cd "/lib/modules/$kernel/kernel"
    rm -rf drivers/gpu drivers/comedi drivers/infiniband drivers/iio drivers/media drivers/usb \
        drivers/target drivers/staging drivers/hid drivers/input drivers/video drivers/nvdimm \
        drivers/gnss drivers/bluetooth sound net/bluetooth net/wireless net/mac80211 net/can \
        net/sched net/openvswitch net/sctp net/tipc net/rds net/ceph net/batman-adv \
        fs/btrfs fs/ocfs2 fs/gfs2 fs/ceph fs/afs fs/orangefs fs/jfs fs/f2fs fs/ubifs fs/reiserfs \
        fs/nilfs2 fs/coda fs/dlm fs/bcachefs drivers/md arch/x86/kvm virt
    # other clouds' network cards and storage; virtio is what a service instance has
    for dir in drivers/net/ethernet drivers/net/wireless drivers/net/usb drivers/net/can; do
        rm -rf "$dir"
    done
)
depmod "$kernel"
# Python's bytecode does not depend on the times of files, so nothing is compiled at boot.
python3 -m compileall -q -f --invalidation-mode unchecked-hash \
    -x '/(test|tests)/' /usr/lib/python3* >/dev/null
