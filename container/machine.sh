# Counts the CPUs and GPUs that may be used. Sourced by serve.
# shellcheck shell=bash
# shellcheck disable=SC2034  # used by other files

# Sets `cpus`: those of the machine, or fewer if CPU affinity or a quota limits them. An inference
# component, like `docker run --cpus`, sees all CPUs of the host but may use only some.
count_cpus() { # CGROUP_ROOT
    local root=$1 own quota='' period=1
    cpus=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc) # which nproc would return
    own=$(sed -n 's/^0:://p' /proc/self/cgroup)
    if [[ -r $root$own/cpu.max ]]; then # version 2, with the host's whole tree visible
        read -r quota period <"$root$own/cpu.max"
    elif [[ -r $root/cpu.max ]]; then
        read -r quota period <"$root/cpu.max"
    elif [[ -r $root/cpu/cpu.cfs_quota_us ]]; then # version 1
        read -r quota <"$root/cpu/cpu.cfs_quota_us"
        read -r period <"$root/cpu/cpu.cfs_period_us"
    fi
    # without a limit it is "max" in version 2, -1 in version 1
    if [[ $quota =~ ^[0-9]+$ ]] && (((quota + period - 1) / period < cpus)); then
        cpus=$(((quota + period - 1) / period))
    fi
}

# Sets `gpus`: their CUDA ids. The device files are tried first, because nvidia-smi takes seconds
# when the driver is not loaded; it works where there are no device files (WSL).
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
