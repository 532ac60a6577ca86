class PrivilegeError(Exception):
    pass


def drop_to(user):
    pass
