//! The statements of a run and their sources.

use muster_common::query::Template;
use muster_proto::control;

/// One statement, or several that form a mix.
pub(crate) struct Statements {
    first: Statement,
    further: Vec<Statement>,
}

pub(crate) enum Statement {
    /// The default query. Its bucketing function depends on the server. The template has the placeholders that all its forms share.
    Default(Template),
    Own {
        /// Its given name, or the name of its file.
        name: String,
        /// Its text, which error messages quote.
        source: String,
        template: Template,
        /// Its weight in a mix, above 0.
        weight: u32,
    },
}

impl Statements {
    pub(crate) fn new(first: Statement, further: Vec<Statement>) -> Self {
        Self { first, further }
    }

    pub(crate) fn first(&self) -> &Statement {
        &self.first
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Statement> {
        std::iter::once(&self.first).chain(&self.further)
    }

    pub(crate) fn is_mix(&self) -> bool {
        !self.further.is_empty()
    }

    /// The statement that was sent to the server as `sql`.
    pub(crate) fn sent_as(&self, sql: &str) -> Option<&Statement> {
        self.iter().find(|statement| statement.template().sql() == sql)
    }
}

impl Statement {
    pub(crate) fn template(&self) -> &Template {
        match self {
            Self::Default(template) | Self::Own { template, .. } => template,
        }
    }

    /// The user's text, which error messages quote. `None` for the default query.
    pub(crate) fn original(&self) -> Option<(&str, &Template)> {
        match self {
            Self::Default(_) => None,
            Self::Own { source, template, .. } => Some((source, template)),
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Default(_) => "default",
            Self::Own { name, .. } => name,
        }
    }

    pub(crate) fn weight(&self) -> u32 {
        match self {
            Self::Default(_) => 1,
            Self::Own { weight, .. } => *weight,
        }
    }

    /// The statement as it is sent to agents.
    pub(crate) fn for_agents(&self) -> control::Statement {
        let template = self.template();
        let is_default = matches!(self, Self::Default(_));
        control::Statement {
            sql: (!is_default).then(|| template.sql().to_owned()),
            parameters: template.columns().len(),
            placeholders: if is_default { Vec::new() } else { template.placeholders().to_owned() },
        }
    }
}
