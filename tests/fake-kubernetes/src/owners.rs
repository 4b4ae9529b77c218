//! Which manager owns which field, and what server-side apply makes of it.

use crate::cluster::{Caller, Target};
use crate::fields::{self, Path, Step};
use crate::refusal::Refusal;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// One entry of `metadata.managedFields`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Owner {
    manager: String,
    applies: bool,
    status: bool,
    version: String,
    time: String,
    fields: BTreeSet<Path>,
}

impl Owner {
    fn new(target: &Target, caller: &Caller, applies: bool, fields: BTreeSet<Path>) -> Self {
        Self {
            manager: caller.manager.clone(),
            applies,
            status: target.status,
            version: target.kind.api_version(&target.version),
            time: caller.now.clone(),
            fields,
        }
    }

    /// Whether both stand for the same manager in the same role.
    fn is(&self, other: &Self) -> bool {
        (&self.manager, self.applies, self.status) == (&other.manager, other.applies, other.status)
    }

    fn name(&self) -> String {
        let status = if self.status { " with subresource \"status\"" } else { "" };
        format!("\"{}\"{status} using {}", self.manager, self.version)
    }

    fn shown(&self) -> Value {
        let mut shown = json!({
            "manager": self.manager, "operation": if self.applies { "Apply" } else { "Update" },
            "apiVersion": self.version, "time": self.time,
            "fieldsType": "FieldsV1", "fieldsV1": fields::shown(&self.fields),
        });
        if self.status {
            crate::tree::set(&mut shown, &["subresource"], "status".into());
        }
        shown
    }
}

/// Applies `body` to `object`: what only this manager applied before and does not any more goes away.
pub(crate) fn apply(
    target: &Target,
    caller: &Caller,
    object: &mut Value,
    owners: &mut Vec<Owner>,
    body: &Value,
    force: bool,
) -> Result<(), Refusal> {
    let schema = &target.kind.schema;
    let new = Owner::new(target, caller, true, fields::places(schema, body));
    let differs = |path: &Path| {
        !matches!(path.last(), Some(Step::Key(_))) && fields::at(object, path) != fields::at(body, path)
    };
    let mut contested = Vec::new();
    for owner in owners.iter_mut().filter(|owner| !owner.is(&new)) {
        let disputed: Vec<_> =
            owner.fields.intersection(&new.fields).filter(|path| differs(path)).cloned().collect();
        for path in disputed {
            owner.fields.remove(&path);
            contested.push((owner.name(), fields::name(&path)));
        }
    }
    if !contested.is_empty() && !force {
        return Err(Refusal::contested(&target.kind, &target.name, &contested));
    }
    fields::overlay(schema, object, body);
    let before = owners.iter().position(|owner| owner.is(&new)).map(|place| owners.remove(place));
    let dropped = before.iter().flat_map(|before| before.fields.difference(&new.fields));
    for path in dropped.filter(|path| !owners.iter().any(|owner| holds(owner, path))) {
        fields::remove(object, path);
    }
    let time = before.filter(|before| before.fields == new.fields).map(|before| before.time);
    owners.push(Owner { time: time.unwrap_or_else(|| new.time.clone()), ..new });
    Ok(())
}

/// Whether somebody owns a place or, if it is an item, something in it.
fn holds(owner: &Owner, path: &Path) -> bool {
    if matches!(path.last(), Some(Step::Key(_))) {
        owner.fields.iter().any(|owned| owned.starts_with(path))
    } else {
        owner.fields.contains(path)
    }
}

/// After a write that is not an apply: whoever wrote owns what has changed.
pub(crate) fn updated(
    target: &Target,
    caller: &Caller,
    before: &Value,
    after: &Value,
    owners: &mut Vec<Owner>,
) {
    let schema = &target.kind.schema;
    let changed: BTreeSet<_> = fields::places(schema, after)
        .into_iter()
        // Of each part, its own endpoint alone makes owners: defaults of the status belong to nobody.
        .filter(|path| {
            !target.kind.status || target.status == path.starts_with(&[Step::Field("status".to_owned())])
        })
        .filter(|path| match (path.last(), fields::at(before, path)) {
            (Some(Step::Key(_)), found) => found.is_none(),
            (_, found) => found != fields::at(after, path),
        })
        .collect();
    if !changed.is_empty() {
        let new = Owner::new(target, caller, false, changed);
        for owner in owners.iter_mut().filter(|owner| !owner.is(&new)) {
            owner.fields.retain(|path| !new.fields.contains(path));
        }
        match owners.iter_mut().find(|owner| owner.is(&new)) {
            Some(owner) => {
                owner.fields.extend(new.fields);
                owner.time = new.time;
            }
            None => owners.push(new),
        }
    }
    settle(after, owners);
}

/// Drops what is owned but not there, and owners of nothing.
pub(crate) fn settle(object: &Value, owners: &mut Vec<Owner>) {
    for owner in owners.iter_mut() {
        owner.fields.retain(|path| fields::at(object, path).is_some());
    }
    owners.retain(|owner| !owner.fields.is_empty());
}

/// `metadata.managedFields`.
pub(crate) fn shown(owners: &[Owner]) -> Value {
    Value::Array(owners.iter().map(Owner::shown).collect())
}
