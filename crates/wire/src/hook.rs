//! Questions of httpd's hooks to scripts, and the scripts' answers.
//!
//! A question is a [`crate::request::Request`] whose [`Role`] is not [`Role::Application`]: its
//! body holds what the script's function is called with besides the environ. A worker answers with
//! one [`Kind::Answer`] frame and the end, or with no answer at all: then nobody is let in.

use crate::codec::{Malformed, Reader, Writer};
use crate::frame::{self, Kind};

/// What a worker is to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Role {
    /// Run the application.
    #[default]
    Application = 0,
    /// Ask `allow_access(environ, host)`.
    Access = 1,
    /// Ask `check_password(environ, user, password)`.
    Password = 2,
    /// Ask `get_realm_hash(environ, user, realm)`.
    RealmHash = 3,
    /// Ask `groups_for_user(environ, user)`.
    Groups = 4,
    /// Ask those of `process_group(environ)`, `application_group(environ)` and
    /// `callable_object(environ)` that there are.
    Dispatch = 5,
}

impl Role {
    pub(crate) fn from_u8(role: u8) -> Result<Self, Malformed> {
        Ok(match role {
            0 => Self::Application,
            1 => Self::Access,
            2 => Self::Password,
            3 => Self::RealmHash,
            4 => Self::Groups,
            5 => Self::Dispatch,
            _ => return Err(Malformed::Unknown(role)),
        })
    }

    /// The function of the script that is asked; empty where it is none or several.
    pub fn function(self) -> &'static str {
        match self {
            Self::Access => "allow_access",
            Self::Password => "check_password",
            Self::RealmHash => "get_realm_hash",
            Self::Groups => "groups_for_user",
            Self::Application | Self::Dispatch => "",
        }
    }

    /// Whether a question is asked, to which an answer is due.
    pub fn is_question(self) -> bool {
        self != Self::Application
    }

    /// Whether the question or its answer may hold a secret: a password, a hash.
    pub fn is_secret(self) -> bool {
        matches!(self, Self::Password | Self::RealmHash)
    }

    /// How many arguments a question has.
    fn arguments(self) -> usize {
        match self {
            Self::Application | Self::Dispatch => 0,
            Self::Access | Self::Groups => 1,
            Self::Password | Self::RealmHash => 2,
        }
    }
}

/// Appends the arguments of a question: the body of its request.
///
/// # Errors
/// [`Malformed::TooLong`] where one exceeds 65,535 bytes.
pub fn append_arguments(out: &mut Vec<u8>, arguments: &[&[u8]]) -> Result<(), Malformed> {
    let mut w = Writer::new(out);
    arguments.iter().try_for_each(|argument| w.short(argument))
}

/// The arguments of a question, of which there are as many as its role has.
pub fn decode_arguments(role: Role, body: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
    let mut r = Reader::new(body);
    let arguments = (0..role.arguments())
        .map(|_| r.short())
        .collect::<Result<_, _>>()?;
    r.finish()?;
    Ok(arguments)
}

/// Most names in one answer.
pub const MAX_NAMES: usize = 4096;

/// What a script has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<'a> {
    None,
    True,
    False,
    /// The name to use for a user, or a hash.
    Text(&'a [u8]),
    /// Names of groups.
    Names(Vec<&'a [u8]>),
    /// Process group, application group and callable; `None` leaves what the configuration says.
    Choices([Option<&'a [u8]>; 3]),
}

impl<'a> Answer<'a> {
    /// Appends the frame.
    ///
    /// # Errors
    /// [`Malformed::TooLong`] past a bound; `out` is as before then.
    pub fn append(&self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        frame::append(out, Kind::Answer, |out| {
            let mut w = Writer::new(out);
            match self {
                Self::None => w.u8(0),
                Self::True => w.u8(1),
                Self::False => w.u8(2),
                Self::Text(text) => {
                    w.u8(3);
                    w.short(text)?;
                }
                Self::Names(names) => {
                    if names.len() > MAX_NAMES {
                        return Err(Malformed::TooLong);
                    }
                    w.u8(4);
                    w.u16(names.len() as u16);
                    names.iter().try_for_each(|name| w.short(name))?;
                }
                Self::Choices(choices) => {
                    w.u8(5);
                    for choice in choices {
                        w.u8(u8::from(choice.is_some()));
                        if let Some(choice) = choice {
                            w.short(choice)?;
                        }
                    }
                }
            }
            Ok(())
        })
    }

    /// Decodes the payload of a [`Kind::Answer`] frame.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(payload);
        let answer = match r.u8()? {
            0 => Self::None,
            1 => Self::True,
            2 => Self::False,
            3 => Self::Text(r.short()?),
            4 => {
                let count = usize::from(r.u16()?);
                if count > MAX_NAMES {
                    return Err(Malformed::TooLong);
                }
                let mut names = Vec::new();
                for _ in 0..count {
                    names.push(r.short()?);
                }
                Self::Names(names)
            }
            5 => {
                let mut choices = [None; 3];
                for choice in &mut choices {
                    *choice = match r.u8()? {
                        0 => None,
                        1 => Some(r.short()?),
                        _ => return Err(Malformed::Invalid),
                    };
                }
                Self::Choices(choices)
            }
            unknown => return Err(Malformed::Unknown(unknown)),
        };
        r.finish()?;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_round_trips_and_every_prefix_is_truncated() {
        for answer in [
            Answer::None,
            Answer::True,
            Answer::False,
            Answer::Text(b"jane"),
            Answer::Names(vec![]),
            Answer::Names(vec![b"staff", b"", b"editors"]),
            Answer::Choices([None, Some(b""), Some(b"app")]),
        ] {
            let mut out = vec![9];
            answer.append(&mut out).unwrap();
            let (frame, payload, rest) = frame::split(&out[1..]).unwrap().unwrap();
            assert_eq!((frame.kind, rest.len()), (Kind::Answer, 0));
            assert_eq!(Answer::decode(payload).unwrap(), answer);
            for cut in 0..payload.len() {
                assert_eq!(Answer::decode(&payload[..cut]), Err(Malformed::Truncated));
            }
            let longer = [payload, &[0]].concat();
            assert_eq!(Answer::decode(&longer), Err(Malformed::Trailing));
        }
        assert_eq!(Answer::decode(&[6]), Err(Malformed::Unknown(6)));
        assert_eq!(Answer::decode(&[5, 2]), Err(Malformed::Invalid));
    }

    #[test]
    fn an_answer_past_a_bound_is_refused_on_both_sides() {
        let long = vec![b'x'; 65_536];
        let names = vec![&b"x"[..]; MAX_NAMES + 1];
        let much = vec![&long[..60_000]; 2];
        for answer in [
            Answer::Text(&long),
            Answer::Names(names),
            Answer::Names(much),
        ] {
            let mut out = vec![1];
            assert_eq!(answer.append(&mut out), Err(Malformed::TooLong));
            assert_eq!(out, [1]);
        }
        assert_eq!(Answer::decode(&[4, 1, 16]), Err(Malformed::TooLong));
    }

    #[test]
    fn a_question_has_as_many_arguments_as_its_role() {
        let mut body = Vec::new();
        append_arguments(&mut body, &[b"jane", b"secret"]).unwrap();
        let arguments = decode_arguments(Role::Password, &body).unwrap();
        assert_eq!(arguments, [&b"jane"[..], b"secret"]);
        assert_eq!(
            decode_arguments(Role::Groups, &body),
            Err(Malformed::Trailing)
        );
        assert_eq!(
            decode_arguments(Role::Password, &body[..7]),
            Err(Malformed::Truncated)
        );
        assert_eq!(decode_arguments(Role::Dispatch, b""), Ok(vec![]));
    }
}
