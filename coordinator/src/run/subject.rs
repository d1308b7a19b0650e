//! What the result says about the run itself.

use muster_report::result;

use crate::spec::RunSpec;
use crate::workload::HostTable;

/// The definition of a run and its hosts. They come from the running process, or from the directory of a stored run.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) spec: &'a RunSpec,
    pub(crate) hosts: &'a HostTable,
}

impl Subject<'_> {
    pub(crate) fn workload(&self) -> result::Workload {
        let (file, content) = (&self.spec.workload.file, &self.spec.workload.content);
        result::Workload {
            file: file.clone(),
            sha256: content.sha256.clone(),
            rows: content.rows.into(),
            hosts: content.hosts.into(),
            skipped: content.skipped,
        }
    }
}
