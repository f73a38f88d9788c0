"""Files and folders: opening images, planning and doing many, writing them whole."""
