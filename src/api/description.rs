//! The interface as programs read it: OpenAPI, in `openapi.json` beside this file, answered at `/v1/openapi.json`.
//!
//! It is written by hand; tests compare it with the paths that are read (`routes`) and with the fields of the replies (here).

/// The description of the local interface as JSON.
pub const DESCRIPTION: &str = include_str!("openapi.json");

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeMap;

    /// The structs of a file that are written as JSON, with the names of their fields there.
    fn structs(source: &str) -> BTreeMap<String, Vec<String>> {
        let mut found = BTreeMap::new();
        let (mut attributes, mut inside) = (String::new(), None::<(String, Vec<String>)>);
        for line in source.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("pub struct ").filter(|rest| rest.ends_with('{')) {
                let name: String = rest.chars().take_while(|it| it.is_alphanumeric()).collect();
                inside = attributes.contains("Serialize").then(|| (name, Vec::new()));
                attributes.clear();
            } else if line.starts_with("#[") {
                attributes.push_str(line);
            } else if line == "}" {
                found.extend(inside.take());
            } else if let Some(field) = line.strip_prefix("pub ").filter(|it| it.ends_with(',')) {
                let renamed =
                    attributes.split_once("rename = \"").and_then(|(_, rest)| rest.split('"').next());
                let name = renamed.or(field.split(':').next()).unwrap_or_default().to_owned();
                let is_hidden =
                    ["flatten", "alarm_columns", "serde(skip)"].iter().any(|it| attributes.contains(it));
                if let (Some((_, fields)), false) = (&mut inside, is_hidden) {
                    fields.push(name);
                }
                attributes.clear();
            } else if !line.starts_with("//") {
                attributes.clear();
            }
        }
        found
    }

    /// Every field of every reply has its place, under the name of its type without `View`.
    #[test]
    fn every_field_of_a_reply_stands_in_the_description() {
        let description: Value = serde_json::from_str(DESCRIPTION).unwrap();
        let schemas = description["components"]["schemas"].as_object().unwrap();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/io/view");
        let (mut types, mut fields) = (0, 0);
        for file in std::fs::read_dir(folder).unwrap() {
            let source = std::fs::read_to_string(file.unwrap().path()).unwrap();
            for (name, known) in structs(&source) {
                let name = name.strip_suffix("View").unwrap_or(&name).to_owned();
                let Some(schema) = schemas.get(&name) else {
                    // Parts of others, in whose place their fields stand; the reply to what only the node itself sends.
                    assert!(
                        ["Step", "RouteOrder", "Alarm", "Published"].contains(&&*name),
                        "{name} is not described"
                    );
                    continue;
                };
                types += 1;
                for field in known {
                    assert!(
                        schema["properties"].get(&field).is_some(),
                        "`{field}` of {name} is not described"
                    );
                    fields += 1;
                }
            }
        }
        assert!(types > 40 && fields > 250, "{types} {fields}");
    }

    /// Every reference leads somewhere, and no operation has the name of another.
    #[test]
    fn the_description_is_whole() {
        let description: Value = serde_json::from_str(DESCRIPTION).unwrap();
        for part in DESCRIPTION.split("\"$ref\": \"#").skip(1) {
            let place = part.split('"').next().unwrap();
            assert!(description.pointer(place).is_some(), "{place}");
        }
        let operations = description["paths"].as_object().unwrap().values();
        let operations = operations.flat_map(|it| it.as_object().unwrap().values());
        let mut names: Vec<&str> = operations.map(|it| it["operationId"].as_str().unwrap()).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert!(names.len() == all && all > 45, "{all}");
    }
}
