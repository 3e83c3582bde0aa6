//! The answers of an authorizer.

use serde::{
    Serialize, Serializer,
    ser::{Error as _, SerializeStruct as _},
};
use serde_json::{Map, Value};

use crate::Context;

/// The answer to an event: the simple response of payload format 2.0, or a policy for the other formats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// True if the request may pass.
    pub is_authorized: bool,
    /// The context for your function.
    pub context: Context,
    /// The methods that the policy allows or denies, as an ARN; `None` for a simple response.
    pub resource: Option<String>,
}

impl Serialize for Response {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(resource) = &self.resource else {
            let mut simple = serializer.serialize_struct("Simple", 2)?;
            simple.serialize_field("isAuthorized", &self.is_authorized)?;
            simple.serialize_field("context", &self.context)?;
            return simple.end();
        };
        let effect = if self.is_authorized { "Allow" } else { "Deny" };
        let statement = Statement {
            action: "execute-api:Invoke",
            effect,
            resource,
        };
        let document = Document {
            version: "2012-10-17",
            statement: [statement],
        };
        let principal = match &*self.context.sub {
            "" => "unknown",
            sub => sub,
        };
        let mut policy = serializer.serialize_struct("Policy", 3)?;
        policy.serialize_field("principalId", principal)?;
        policy.serialize_field("policyDocument", &document)?;
        policy.serialize_field("context", &texts(&self.context).map_err(S::Error::custom)?)?;
        policy.end()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document<'a> {
    version: &'static str,
    statement: [Statement<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement<'a> {
    action: &'static str,
    effect: &'static str,
    resource: &'a str,
}

/// Returns the context with each member as a text, since API Gateway refuses a list or an object beside a policy. The
/// text of a list, an object or a number is its JSON.
fn texts(context: &Context) -> serde_json::Result<Map<String, Value>> {
    let Value::Object(members) = serde_json::to_value(context)? else {
        return Ok(Map::new());
    };
    let texts = members.into_iter().map(|(name, value)| match value {
        Value::String(_) => (name, value),
        other => (name, other.to_string().into()),
    });
    Ok(texts.collect())
}
