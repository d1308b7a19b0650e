//! The statements of a run: one, or several that form a mix.

use serde::{Deserialize, Serialize};

use crate::query::{self, BucketFunction, Template, TemplateError};

/// At least one statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Statement>", into = "Vec<Statement>")]
pub struct Statements(Vec<Statement>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StatementText", into = "StatementText")]
pub struct Statement {
    text: StatementText,
    template: Template,
}

/// A statement as it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementText {
    /// `default`, the given name, or the name of the query file.
    pub name: String,
    /// The text with `:column` placeholders. `null` for the default query, whose bucketing function depends on the server.
    pub sql: Option<String>,
    /// Relative weight in a mix, greater than 0.
    pub weight: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a run needs at least one statement")]
pub struct NoStatement;

impl Statements {
    pub fn first(&self) -> &Statement {
        &self.0[0]
    }

    pub fn as_slice(&self) -> &[Statement] {
        &self.0
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Statement> {
        self.0.iter()
    }

    pub fn is_mix(&self) -> bool {
        self.0.len() > 1
    }

    /// Returns the statement that was sent to the server as `sql`.
    pub fn sent_as(&self, sql: &str) -> Option<&Statement> {
        self.iter().find(|statement| statement.template.sql() == sql)
    }
}

impl From<Statement> for Statements {
    fn from(only: Statement) -> Self {
        Self(vec![only])
    }
}

impl TryFrom<Vec<Statement>> for Statements {
    type Error = NoStatement;

    fn try_from(statements: Vec<Statement>) -> Result<Self, NoStatement> {
        if statements.is_empty() { Err(NoStatement) } else { Ok(Self(statements)) }
    }
}

impl From<Statements> for Vec<Statement> {
    fn from(statements: Statements) -> Self {
        statements.0
    }
}

impl Statement {
    /// The default query.
    pub fn default_query() -> Self {
        let text = StatementText { name: "default".to_owned(), sql: None, weight: 1 };
        Self::try_from(text).expect("a test parses every default query")
    }

    pub fn name(&self) -> &str {
        &self.text.name
    }

    pub fn weight(&self) -> u32 {
        self.text.weight
    }

    /// The placeholders of the default query are the same in all its forms.
    pub fn template(&self) -> &Template {
        &self.template
    }

    pub fn is_default(&self) -> bool {
        self.text.sql.is_none()
    }

    /// The text as it was given, which error messages quote. `None` for the default query.
    pub fn original(&self) -> Option<(&str, &Template)> {
        Some((self.text.sql.as_deref()?, &self.template))
    }
}

impl TryFrom<StatementText> for Statement {
    type Error = TemplateError;

    fn try_from(text: StatementText) -> Result<Self, TemplateError> {
        let sql = text.sql.as_deref().unwrap_or(query::default_sql(BucketFunction::TimeBucket));
        Ok(Self { template: Template::parse(sql)?, text })
    }
}

impl From<Statement> for StatementText {
    fn from(statement: Statement) -> Self {
        statement.text
    }
}
