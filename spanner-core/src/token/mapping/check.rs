//! Checks a mapping, and reports all problems at once, each with its place.

use super::claim_mapping::{Capture, ClaimMapping, KindRule};
use super::condition::Condition;
use super::pointer::Pointer;
use super::selector::{Selector, Shape};
use super::template::Template;
use crate::caller::Caller;
use crate::token::algorithm::Algorithm;
use crate::token::key::Purpose;

/// One problem of a mapping: the member, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::token) struct MappingProblem {
    pub(in crate::token) member: String,
    pub(in crate::token) problem: String,
}

/// Walks a mapping. `claims` collects the claims that it reads.
#[derive(Default)]
struct Walk {
    problems: Vec<MappingProblem>,
    claims: Vec<String>,
}

/// The values for a template besides claims.
#[derive(Clone, Copy)]
struct Filling {
    captures: usize,
    entry: bool,
    outer: bool,
}

impl Filling {
    const NONE: Self = Self {
        captures: 0,
        entry: false,
        outer: false,
    };
}

/// The object that a pointer refers to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    /// The claims of the token.
    Token,
    /// An object in the claims.
    Part,
}

impl ClaimMapping {
    /// The top-level claims that it reads.
    pub(in crate::token) fn claims(&self) -> Vec<String> {
        self.walk().claims
    }

    pub(in crate::token) fn problems(&self) -> Vec<MappingProblem> {
        self.walk().problems
    }

    fn walk(&self) -> Walk {
        let mut walk = Walk::default();
        walk.algorithms(self.algs.as_deref());
        walk.names("header_only", self.header_only.as_deref());
        if let Some(word) = &self.key_use
            && Purpose::named(word).is_none()
        {
            walk.add(
                "key_use",
                format!("{word:?} is neither `sig` nor `jwt-svid`"),
            );
        }
        if self.typ.as_ref().is_some_and(Vec::is_empty) {
            walk.add("typ", "it is empty, so no token would be accepted");
        }
        walk.capture("issuer_regex", self.issuer_regex.as_ref());
        walk.capture("tenant_regex", self.tenant_regex.as_ref());
        walk.pointers("audience_from", self.audience_from.as_slice());
        for (member, list) in [
            ("require", &self.require),
            ("subject", &self.subject),
            ("client", &self.client),
            ("tenant", &self.tenant),
        ] {
            walk.pointers(member, list.as_deref().unwrap_or_default());
        }
        for (member, list) in [
            ("reject", &self.reject),
            ("incomplete_groups", &self.incomplete_groups),
        ] {
            for condition in list.iter().flatten() {
                walk.condition(member, condition, About::Token);
            }
        }
        if let Some(template) = &self.subject_template {
            walk.template("subject_template", template, About::Token, Filling::NONE);
        }
        if let Some(fallback) = &self.subject_fallback {
            walk.template(
                "subject_fallback",
                &fallback.template,
                About::Token,
                Filling::NONE,
            );
            walk.condition("subject_fallback", &fallback.when, About::Token);
        }
        if self.subject.as_ref().is_none_or(Vec::is_empty) && self.subject_template.is_none() {
            walk.add("subject", "nothing says where the subject stands");
        }
        walk.kinds(
            "kind",
            self.kind.as_deref().unwrap_or_default(),
            About::Token,
        );
        for (member, list) in [
            ("groups", &self.groups),
            ("roles", &self.roles),
            ("scopes", &self.scopes),
        ] {
            list.iter()
                .flatten()
                .for_each(|it| walk.selector(member, it));
        }
        self.walk_actors(&mut walk);
        walk
    }

    fn walk_actors(&self, walk: &mut Walk) {
        if let Some(actor) = &self.actor {
            walk.pointer("actor.at", &actor.at, About::Token);
            for at in &actor.subject {
                walk.pointer("actor.subject", at, About::Part);
            }
            if actor.subject.is_empty() {
                walk.add(
                    "actor.subject",
                    "nothing says where the actor's subject stands",
                );
            }
            walk.kinds("actor.kind", &actor.kind, About::Part);
            let depths = 1..=Caller::MAX_DEPTH;
            if actor
                .max_depth
                .is_some_and(|depth| !depths.contains(&depth))
            {
                let problem = format!("it must be 1 to {}", Caller::MAX_DEPTH);
                walk.add("actor.max_depth", problem);
            }
        }
        if let Some(actor) = &self.actor_from_client {
            walk.condition("actor_from_client", &actor.when, About::Token);
        }
    }
}

impl Walk {
    fn add(&mut self, member: impl Into<String>, problem: impl Into<String>) {
        self.problems.push(MappingProblem {
            member: member.into(),
            problem: problem.into(),
        });
    }

    fn algorithms(&mut self, names: Option<&[String]>) {
        self.names("algs", names);
        for name in names.unwrap_or_default() {
            if name.parse::<Algorithm>().is_err() {
                self.add(
                    "algs",
                    format!("{name:?} is no asymmetric signature algorithm"),
                );
            }
        }
    }

    fn names(&mut self, member: &str, names: Option<&[String]>) {
        if names.is_some_and(<[String]>::is_empty) {
            self.add(member, "it is empty, so no token would be accepted");
        }
    }

    fn capture(&mut self, member: &str, capture: Option<&Capture>) {
        let Some(capture) = capture else { return };
        self.pointer(member, &capture.at, About::Token);
        if capture.regex.is_none() {
            let pattern = &capture.pattern;
            let problem = format!("{pattern:?} is no regular expression with one group");
            self.add(member, problem);
        }
    }

    fn pointers(&mut self, member: &str, pointers: &[Pointer]) {
        for pointer in pointers {
            self.pointer(member, pointer, About::Token);
        }
    }

    /// Checks a pointer to one value.
    fn pointer(&mut self, member: &str, pointer: &Pointer, about: About) {
        if pointer.is_wild() {
            let problem = format!("{:?} stands for several values", pointer.text);
            self.add(member, problem);
        }
        self.list_pointer(member, pointer, about);
    }

    /// Checks a pointer to a list.
    fn list_pointer(&mut self, member: &str, pointer: &Pointer, about: About) {
        if !pointer.is_valid() {
            let problem = format!("{:?} neither names a claim nor points to one", pointer.text);
            self.add(member, problem);
        } else if about == About::Token {
            self.claims.push(pointer.top().to_owned());
        }
    }

    fn condition(&mut self, member: &str, condition: &Condition, about: About) {
        condition.visit(0, &mut |seen| match seen {
            Some(pointer) => self.pointer(member, pointer, about),
            None => self.add(member, "conditions stand too deep in one another"),
        });
    }

    fn template(&mut self, member: &str, template: &Template, about: About, filling: Filling) {
        if !template.is_valid() || !template.fits(filling.captures, filling.entry, filling.outer) {
            let text = &template.text;
            let problem = format!(
                "{text:?} is no template that can be filled here: places are {{/claim}}, {{/one|/other}}, {{1}} for a `*`, {{key}} and {{value}} of entries, and {{^/claim}} around what is nested"
            );
            self.add(member, problem);
        } else if about == About::Token {
            let claims = template.pointers().map(|it| it.top().to_owned());
            self.claims.extend(claims);
        }
    }

    fn kinds(&mut self, member: &str, rules: &[KindRule], about: About) {
        for rule in rules {
            self.condition(member, &rule.when, about);
        }
    }

    fn selector(&mut self, member: &str, selector: &Selector) {
        let Selector {
            at,
            shape,
            object_key,
            template,
            unless,
            nested,
            prefix,
        } = selector;
        self.list_pointer(member, at, About::Token);
        let filling = Filling {
            captures: at.stars(),
            entry: *shape == Shape::Entries,
            outer: nested.is_some(),
        };
        if let Some(prefix) = prefix {
            let captures = filling.captures;
            let filling = Filling {
                captures,
                ..Filling::NONE
            };
            self.template(member, prefix, About::Token, filling);
        }
        match nested {
            Some(nested) if *shape == Shape::Each => self.pointer(member, nested, About::Part),
            Some(_) => self.add(member, "`nested` is for `each`"),
            None => {}
        }
        let filled = matches!(shape, Shape::Entries | Shape::Each);
        match template {
            Some(template) if filled => {
                let about = match shape {
                    Shape::Entries => About::Token,
                    _ => About::Part,
                };
                self.template(member, template, about, filling);
            }
            Some(_) => self.add(member, "a template is for `entries` and `each`"),
            None if filled => self.add(member, "`entries` and `each` need a template"),
            None => {}
        }
        match unless {
            Some(unless) if *shape == Shape::Each => {
                self.condition(member, unless, About::Part);
            }
            Some(_) => self.add(member, "`unless` is for `each`"),
            None => {}
        }
        if object_key.is_some() && *shape != Shape::Strings {
            self.add(member, "`object_key` is for `strings`");
        }
    }
}
