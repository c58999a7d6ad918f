# What of the machine may be used. Sourced by serve.
# shellcheck shell=bash
# shellcheck disable=SC2034  # the others read what is found here

# `cpus`: the machine's, or fewer where affinity or a quota says so. An inference component, like
# `docker run --cpus`, has a share of a host and sees all of it.
count_cpus() { # FOLDER of the cgroups
    local root=$1 own quota='' period=1
    cpus=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc) # which it would believe
    own=$(sed -n 's/^0:://p' /proc/self/cgroup)
    if [[ -r $root$own/cpu.max ]]; then # version 2, and the whole host's tree is shown
        read -r quota period <"$root$own/cpu.max"
    elif [[ -r $root/cpu.max ]]; then
        read -r quota period <"$root/cpu.max"
    elif [[ -r $root/cpu/cpu.cfs_quota_us ]]; then # version 1
        read -r quota <"$root/cpu/cpu.cfs_quota_us"
        read -r period <"$root/cpu/cpu.cfs_period_us"
    fi
    # no bound is "max" in version 2, -1 in version 1
    if [[ $quota =~ ^[0-9]+$ ]] && (((quota + period - 1) / period < cpus)); then
        cpus=$(((quota + period - 1) / period))
    fi
}

# `gpus`: what CUDA calls them, one an element. The device files come first, because nvidia-smi
# takes seconds where no driver is awake; it knows where there are no such files (WSL).
count_gpus() {
    local found
    if [[ -v CUDA_VISIBLE_DEVICES ]]; then
        IFS=, read -ra gpus <<<"$CUDA_VISIBLE_DEVICES"
        return
    fi
    found=$(compgen -G '/dev/nvidia[0-9]*') || found=''
    if [[ -z $found ]] && command -v nvidia-smi >/dev/null; then
        found=$(timeout 10 nvidia-smi -L | grep '^GPU ') || found=''
    fi
    mapfile -t gpus < <(seq 0 $(($(grep -c . <<<"$found") - 1)))
}
