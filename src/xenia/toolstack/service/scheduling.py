"""How a new domain is to be scheduled, by its configuration."""

from __future__ import annotations

from typing import Any

from xenia.toolstack.config.cpus import each_vcpu
from xenia.toolstack.config.domain import DomainConfig
from xenia.toolstack.guest.sched_verbs import PinVcpu, SetShare
from xenia.toolstack.guest.verbs import RemoteVerb


def scheduling(config: DomainConfig) -> list[RemoteVerb[Any]]:
    """What has to be done with its guest, in that order."""
    nr_vcpus = config.max_vcpus or config.vcpus
    return [
        SetShare(config.weight, config.cap),
        *(PinVcpu(vcpu, hard=said) for vcpu, said in each_vcpu(config.cpus, nr_vcpus)),
        *(PinVcpu(vcpu, soft=said) for vcpu, said in each_vcpu(config.cpus_soft, nr_vcpus)),
    ]
