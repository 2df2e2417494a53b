"""The functions that table rows may name by `call`.

Each takes the context, the segment and the resource being read; it says what it could not map by the context.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mappings import observed, rules_patient, rules_result, rules_visit
from mappings.table import Call

CALLS: Mapping[str, Call] = MappingProxyType(
    {
        "allergy_reaction": rules_patient.allergy_reaction,
        "birth": rules_patient.birth,
        "comment": rules_result.comment,
        "county": rules_patient.county,
        "device": rules_result.device,
        "encounter_status": rules_visit.encounter_status,
        "ethnicity": rules_patient.ethnicity,
        "group": rules_patient.group,
        "kin_organization": rules_patient.kin_organization,
        "no_room": rules_patient.no_room,
        "observation_status": rules_result.observation_status,
        "observation_value": observed.observation_value,
        "parent_order": rules_result.parent_order,
        "payor": rules_patient.payor,
        "performing_organization": rules_result.performing_organization,
        "plan": rules_patient.plan,
        "race": rules_patient.race,
        "reference_range": rules_result.reference_range,
        "requester": rules_result.requester,
        "specimen_source": rules_result.specimen_source,
        "sub_identifier": rules_result.sub_identifier,
    }
)
