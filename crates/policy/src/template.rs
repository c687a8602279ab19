//! Names that are made of what is known of a container.
//!
//! A template is handlebars (`{{Pod}}`) or plain Go (`{{.Pod}}`), text and fields only. It may come from a
//! container's author, so nothing else of either language is let through: blocks, partials and helpers could
//! recurse or grow without bound. What it yields is part of one path component, and no value can make it more.

use seccomp_agent_syscall::nearest;
use std::collections::BTreeMap;

use handlebars::{Handlebars, no_escape};

use crate::identity::Field;

/// The longest template: room for every field with text around it.
const MAX_TEMPLATE: usize = 512;
/// The longest result, and the longest value: `NAME_MAX` of `limits.h`, what file systems take for a name.
const MAX_NAME: usize = 255;

/// A template that can be rendered for any container whose fields are known.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String", extend("maxLength" = MAX_TEMPLATE)))]
#[serde(try_from = "String")]
pub(crate) struct Template {
    /// In handlebars, with plain fields only.
    source: String,
    fields: Vec<Field>,
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// It is too long.
    #[error("the template has {0} bytes, more than {MAX_TEMPLATE}")]
    TooLong(usize),
    /// Its text would leave the path component.
    #[error("the template contains {0:?}, which is no part of a name")]
    NoName(char),
    /// A `{{` without `}}`.
    #[error("the template has a {{{{ without its }}}}")]
    Unclosed,
    /// Between the braces is something else than a field.
    #[error("the template contains {{{{{0}}}}}, and only plain fields such as {{{{.Pod}}}} are supported")]
    NotAField(String),
    /// There is no such field.
    #[error("the template has the unknown field {name:?}; {}", known(name))]
    UnknownField {
        /// What it says.
        name: String,
    },
    /// The template engine refuses it.
    #[error("the template is malformed: {0}")]
    Malformed(String),
}

/// Why a template gives no name for a container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The container has no value for a field.
    #[error("the container's {0} is not known")]
    Unknown(&'static str),
    /// A value is not part of one path component.
    #[error("the container's {field} {value:?} is no name")]
    NoName {
        /// Whose.
        field: &'static str,
        /// What it is, cut to its first characters.
        value: String,
    },
    /// The result is too long.
    #[error("the result has {0} bytes, more than {MAX_NAME}")]
    TooLong(usize),
    /// The result is `.` or `..`, which are no names.
    #[error("the result is {0:?}, which is no name")]
    Dots(String),
    /// The template engine failed.
    #[error("the template cannot be rendered: {0}")]
    Engine(String),
}

impl Template {
    /// Checks a template, and rewrites Go's fields.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > MAX_TEMPLATE {
            return Err(TemplateError::TooLong(text.len()));
        }
        let (mut source, mut fields, mut rest) = (String::new(), Vec::new(), text);
        while let Some(open) = rest.find("{{") {
            literal(&rest[..open])?;
            let inside = &rest[open + 2..];
            let close = inside.find("}}").ok_or(TemplateError::Unclosed)?;
            let field = field(&inside[..close])?;
            source.push_str(&rest[..open]);
            source.extend(["{{", field.name(), "}}"]);
            fields.push(field);
            rest = &inside[close + 2..];
        }
        literal(rest)?;
        source += rest;
        handlebars::Template::compile(&source)
            .map_err(|error| TemplateError::Malformed(error.to_string()))?;
        Ok(Self { source, fields })
    }

    /// The name that the values give; of a field that is not among them nothing is known.
    pub(crate) fn render(&self, values: &BTreeMap<Field, String>) -> Result<String, RenderError> {
        let mut named = BTreeMap::new();
        for field in &self.fields {
            let value = values.get(field).ok_or(RenderError::Unknown(field.name()))?;
            if !is_name(value) {
                let value = value.chars().take(MAX_NAME).collect();
                return Err(RenderError::NoName { field: field.name(), value });
            }
            named.insert(field.name(), value);
        }
        let mut engine = Handlebars::new();
        engine.set_strict_mode(true);
        engine.register_escape_fn(no_escape);
        let result = engine
            .render_template(&self.source, &named)
            .map_err(|error| RenderError::Engine(error.to_string()))?;
        match result.as_str() {
            _ if result.len() > MAX_NAME => Err(RenderError::TooLong(result.len())),
            "." | ".." => Err(RenderError::Dots(result)),
            _ => Ok(result),
        }
    }
}

impl TryFrom<String> for Template {
    type Error = TemplateError;

    fn try_from(text: String) -> Result<Self, TemplateError> {
        Self::parse(&text)
    }
}

/// Text between fields. A backslash before braces would keep handlebars from seeing them.
fn literal(text: &str) -> Result<(), TemplateError> {
    match text.chars().find(|c| matches!(c, '/' | '\0' | '\\')) {
        Some(c) => Err(TemplateError::NoName(c)),
        None => Ok(()),
    }
}

/// What is between braces: a name, with Go's dot before it or without.
fn field(inside: &str) -> Result<Field, TemplateError> {
    let trimmed = inside.trim_matches(' ');
    let name = trimmed.strip_prefix('.').unwrap_or(trimmed);
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(TemplateError::NotAField(inside.to_owned()));
    }
    Field::ALL
        .into_iter()
        .find(|field| field.name() == name)
        .ok_or_else(|| TemplateError::UnknownField { name: name.to_owned() })
}

fn known(name: &str) -> String {
    let names = Field::ALL.map(Field::name);
    match nearest(name, names) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("there are {}", names.join(", ")),
    }
}

/// Whether a value can be part of one path component.
fn is_name(value: &str) -> bool {
    !matches!(value, "" | "." | "..") && value.len() <= MAX_NAME && !value.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(pod: &str) -> BTreeMap<Field, String> {
        [(Field::Namespace, "default"), (Field::Pod, pod), (Field::Container, "web"), (Field::Pid, "42")]
            .map(|(field, value)| (field, value.to_owned()))
            .into()
    }

    #[test]
    fn handlebars_and_plain_go_fields_are_rendered() {
        for (template, expected) in [
            ("-{{.Namespace}}-{{.Pod}}-{{.Container}}", "-default-p-web"),
            ("-{{Namespace}}-{{ Pod }}-{{ .Pid }}", "-default-p-42"),
            ("-fixed", "-fixed"),
            ("", ""),
            ("{a}&<'", "{a}&<'"),
        ] {
            assert_eq!(
                Template::parse(template).unwrap().render(&values("p")).unwrap(),
                expected,
                "{template}"
            );
        }
    }

    #[test]
    fn every_other_construct_is_refused() {
        for template in [
            "{{- .Pod -}}",
            "{{.Pod | upper}}",
            "{{printf \"%s\" .Pod}}",
            "{{if .Pod}}x{{end}}",
            "{{if .Pod}}x{{else}}y{{end}}",
            "{{range .Pod}}x{{end}}",
            "{{with .Pod}}x{{end}}",
            "{{define \"x\"}}y{{end}}",
            "{{template \"x\"}}",
            "{{block \"x\" .}}y{{end}}",
            "{{index .Pod 0}}",
            "{{len .Pod}}",
            "{{\"text\"}}",
            "{{`text`}}",
            "{{1}}",
            "{{nil}}",
            "{{break}}",
            "{{.Pod}}{{end}}",
            "{{(.Pod)}}",
            "{{.Pod\n}}",
            "{{\t.Pod}}",
            "{{$x := .Pod}}",
            "{{.Pod.Name}}",
            "{{..Pod}}",
            "{{.}}",
            "{{}}",
            "{{/* comment */}}",
            "{{! comment }}",
            "{{#if Pod}}x{{/if}}",
            "{{#each this}}{{/each}}",
            "{{> partial}}",
            "{{{Pod}}}",
            "{{&Pod}}",
            "{{~Pod~}}",
            "{{../Pod}}",
            "{{@root}}",
            "{{lookup this \"Pod\"}}",
            "{{this}}",
            "{{pod}}",
            "{{.Image}}",
            "{{Pod",
            "\\{{Pod}}",
            "a/b",
            "a\0b",
            &"x".repeat(MAX_TEMPLATE + 1),
        ] {
            assert!(Template::parse(template).is_err(), "{template:?}");
        }
    }

    #[test]
    fn errors_say_what_there_is() {
        for (template, message) in [
            ("{{.Pood}}", r#"the template has the unknown field "Pood"; did you mean "Pod"?"#),
            ("{{.X}}", r#"the template has the unknown field "X"; there are Namespace, Pod, Container, Pid"#),
            (
                "{{if .Pod}}",
                "the template contains {{if .Pod}}, and only plain fields such as {{.Pod}} are supported",
            ),
            ("{{.Pod", "the template has a {{ without its }}"),
            ("../x", "the template contains '/', which is no part of a name"),
        ] {
            assert_eq!(Template::parse(template).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_value_that_is_no_name_is_refused() {
        let template = Template::parse("{{.Pod}}").unwrap();
        for pod in ["", ".", "..", "a/b", "/", "a\0b", &"x".repeat(256)] {
            assert!(matches!(template.render(&values(pod)), Err(RenderError::NoName { .. })), "{pod:?}");
        }
        assert_eq!(template.render(&BTreeMap::new()), Err(RenderError::Unknown("Pod")));
        let twice = Template::parse("{{.Pod}}{{.Pod}}").unwrap();
        assert_eq!(twice.render(&values(&"x".repeat(128))), Err(RenderError::TooLong(256)));
        let dots = Template::parse(".").unwrap();
        assert_eq!(dots.render(&values("p")), Err(RenderError::Dots(".".into())));
    }

    #[test]
    fn a_value_is_never_a_template_itself() {
        let template = Template::parse("{{.Pod}}").unwrap();
        assert_eq!(template.render(&values("{{Pid}}")).unwrap(), "{{Pid}}");
    }

    proptest! {
        #[test]
        fn what_is_rendered_is_part_of_one_path_component(text in "([{}./\\\\a ]|\\{\\{|\\}\\}|[.]?Pod){0,12}", pod in any::<String>()) {
            if let Ok(name) = Template::parse(&text).map_or(Err(()), |t| t.render(&values(&pod)).map_err(|_| ())) {
                prop_assert!(name.len() <= MAX_NAME && !name.contains(['/', '\0']) && name != "." && name != "..");
            }
        }
    }
}
