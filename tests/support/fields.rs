//! Checks that a table of cases names every field of a struct.

/// Lists the names of a struct's fields. Does not compile if a field is missing, so that a new field needs a
/// case.
#[macro_export]
macro_rules! fields {
    ($type:path { $($field:ident),+ $(,)? }) => {{
        let _exhaustive = |value: &$type| {
            let $type { $($field: _),+ } = value;
        };
        [$(stringify!($field)),+]
    }};
}

/// Asserts that the cases of a table name every field and nothing else.
///
/// # Panics
/// Panics if a field has no case, or if a case names no field.
#[track_caller]
pub fn assert_every_field_has_a_case(fields: &[&str], cases: &[&str]) {
    for field in fields {
        assert!(cases.contains(field), "no case changes {field}");
    }
    for case in cases {
        assert!(fields.contains(case), "{case} is not a field");
    }
}

#[cfg(test)]
mod tests {
    use super::assert_every_field_has_a_case;

    struct Two {
        _first: usize,
        _second: bool,
    }

    #[test]
    fn a_field_without_a_case_is_noticed() {
        let fields = fields!(Two { _first, _second });
        assert_eq!(fields, ["_first", "_second"]);
        assert_every_field_has_a_case(&fields, &["_second", "_first", "_first"]);
        for cases in [&["_first"][..], &["_first", "_second", "_third"]] {
            assert!(std::panic::catch_unwind(|| assert_every_field_has_a_case(&fields, cases)).is_err(), "{cases:?}");
        }
    }
}
