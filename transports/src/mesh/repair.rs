//! Which fragments are missing, and who asks for them: bitmap NACKs.
